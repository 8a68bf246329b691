//! Steps for BuildKit as values: what is fetched, run and copied, and the graph that they make.
//!
//! Nothing here talks to anyone. A step is known by the digest of its bytes, so that two ways of asking for the same
//! become one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hone_image::Digest;
use prost::Message;

use crate::proto::ops::{
    ChownOpt, Definition, ExecOp, FileAction, FileActionCopy, FileActionKind, FileActionMkDir, FileActionMkFile,
    FileOp, Input, Kind, Meta, Mount, NONE, Op, OpMetadata, Platform, SourceOp, User, UserOpt,
};

/// `pb.NetMode`: no network at all.
const NO_NETWORK: i32 = 2;
/// Permissions of a directory in an image (docs/honefile.md).
const DIR: i32 = 0o755;
/// Permissions of a file in an image.
const FILE: i32 = 0o644;

/// A filesystem that a step makes.
#[derive(Debug, Clone)]
pub struct Output {
    step: Arc<Step>,
    index: i64,
}

#[derive(Debug)]
struct Step {
    bytes: Vec<u8>,
    digest: String,
    metadata: OpMetadata,
    inputs: Vec<Output>,
}

/// How a step is shown, and whether an old result will do.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What the progress shows.
    pub name: String,
    /// Do it again.
    pub ignore_cache: bool,
}

/// One thing that a step of file actions does. Times are the start of 1970, the owner is 0:0.
#[derive(Debug)]
pub enum Put<'a> {
    /// A directory and those above it, 0755.
    Dir(String),
    /// A file of these bytes, 0644.
    File(String, Vec<u8>),
    /// A copy of a file, 0644; a link is followed.
    Copy {
        /// Where it is.
        from: &'a Output,
        /// Its path there.
        source: String,
        /// Its path here.
        path: String,
    },
}

/// A program to run, without a network, in a filesystem that is thrown away.
#[derive(Debug)]
pub struct Run<'a> {
    /// The program's own filesystem.
    pub program: &'a Output,
    /// Its platform.
    pub platform: Platform,
    /// Its command line.
    pub args: Vec<String>,
    /// Its directory.
    pub cwd: &'a str,
    /// What it reads, and where.
    pub reads: Vec<(&'a Output, &'a str)>,
    /// What it writes, and where: each becomes an output; nothing is in it at first when there is no filesystem.
    pub writes: Vec<(Option<&'a Output>, &'a str)>,
}

impl Shown {
    /// A step that is shown as `name`.
    pub fn new(name: impl Into<String>, ignore_cache: bool) -> Self {
        Self { name: name.into(), ignore_cache }
    }
}

impl Output {
    /// A source: `local://`, `docker-image://`, `http://` or `https://`.
    pub fn source(identifier: &str, attrs: &[(&str, &str)], platform: Option<Platform>, shown: &Shown) -> Self {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let kind = Kind::Source(SourceOp { identifier: identifier.to_owned(), attrs });
        Self::first(step(kind, vec![], platform, shown))
    }

    /// Files on `base`, or on nothing: one layer.
    pub fn files(base: Option<&Self>, puts: Vec<Put<'_>>, shown: &Shown) -> Self {
        let mut inputs: Vec<Self> = base.into_iter().cloned().collect();
        for put in &puts {
            if let Put::Copy { from, .. } = put
                && !inputs.iter().any(|input| input.is(from))
            {
                inputs.push((*from).clone());
            }
        }
        let (first, count) = (inputs.len() as i64, puts.len() as i64);
        let actions = puts.into_iter().zip(0..).map(|(put, n)| FileAction {
            input: match (n, base) {
                (0, Some(_)) => 0,
                (0, None) => NONE,
                _ => first + n - 1,
            },
            secondary_input: match &put {
                Put::Copy { from, .. } => inputs.iter().position(|i| i.is(from)).map_or(NONE, |at| at as i64),
                _ => NONE,
            },
            output: if n + 1 == count { 0 } else { NONE },
            action: Some(action(put)),
        });
        let actions = actions.collect();
        Self::first(step(Kind::File(FileOp { actions }), inputs, None, shown))
    }

    /// What a program writes: an output for each of [`Run::writes`].
    pub fn run(run: Run<'_>, shown: &Shown) -> Vec<Self> {
        let mut inputs = vec![run.program.clone()];
        let mut mounts = vec![Mount { input: 0, dest: "/".to_owned(), output: NONE, readonly: false }];
        for (from, dest) in run.reads {
            inputs.push(from.clone());
            let input = inputs.len() as i64 - 1;
            mounts.push(Mount { input, dest: dest.to_owned(), output: NONE, readonly: true });
        }
        let count = run.writes.len() as i64;
        for ((onto, dest), output) in run.writes.into_iter().zip(0..) {
            let input = match onto {
                Some(onto) => {
                    inputs.push(onto.clone());
                    inputs.len() as i64 - 1
                }
                None => NONE,
            };
            mounts.push(Mount { input, dest: dest.to_owned(), output, readonly: false });
        }
        let meta = Some(Meta { args: run.args, cwd: run.cwd.to_owned() });
        let exec = Kind::Exec(ExecOp { meta, mounts, network: NO_NETWORK });
        let step = step(exec, inputs, Some(run.platform), shown);
        (0..count).map(|index| Self { step: Arc::clone(&step), index }).collect()
    }

    /// The graph whose result this is.
    pub fn definition(&self) -> Definition {
        let mut definition = Definition::default();
        self.collect(&mut definition, &mut BTreeSet::new());
        let end = Op { inputs: vec![self.as_input()], ..Op::default() };
        definition.def.push(end.encode_to_vec());
        definition
    }

    fn collect(&self, definition: &mut Definition, seen: &mut BTreeSet<String>) {
        if !seen.insert(self.step.digest.clone()) {
            return;
        }
        for input in &self.step.inputs {
            input.collect(definition, seen);
        }
        definition.def.push(self.step.bytes.clone());
        definition.metadata.insert(self.step.digest.clone(), self.step.metadata.clone());
    }

    fn first(step: Arc<Step>) -> Self {
        Self { step, index: 0 }
    }

    fn as_input(&self) -> Input {
        Input { digest: self.step.digest.clone(), index: self.index }
    }

    fn is(&self, other: &Self) -> bool {
        (&self.step.digest, self.index) == (&other.step.digest, other.index)
    }
}

fn step(kind: Kind, inputs: Vec<Output>, platform: Option<Platform>, shown: &Shown) -> Arc<Step> {
    let op = Op { inputs: inputs.iter().map(Output::as_input).collect(), kind: Some(kind), platform };
    let bytes = op.encode_to_vec();
    let description = BTreeMap::from([("llb.customname".to_owned(), shown.name.clone())]);
    let metadata = OpMetadata { ignore_cache: shown.ignore_cache, description };
    Arc::new(Step { digest: Digest::of(&bytes).to_string(), bytes, metadata, inputs })
}

fn action(put: Put<'_>) -> FileActionKind {
    match put {
        Put::Dir(path) => FileActionKind::MkDir(FileActionMkDir {
            path: absolute(&path),
            mode: DIR,
            make_parents: true,
            timestamp: 0,
        }),
        Put::File(path, data) => {
            FileActionKind::MkFile(FileActionMkFile { path: absolute(&path), mode: FILE, data, timestamp: 0 })
        }
        Put::Copy { source, path, .. } => FileActionKind::Copy(FileActionCopy {
            src: absolute(&source),
            dest: absolute(&path),
            owner: Some(root()),
            mode: FILE,
            follow_symlink: true,
            timestamp: 0,
        }),
    }
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

fn root() -> ChownOpt {
    let zero = Some(UserOpt { user: Some(User::ById(0)) });
    ChownOpt { user: zero.clone(), group: zero }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> Shown {
        Shown::new(name, false)
    }

    fn ops(definition: &Definition) -> Vec<Op> {
        definition.def.iter().map(|bytes| Op::decode(&bytes[..]).expect("an op")).collect()
    }

    #[test]
    fn a_graph_lists_each_step_once_after_those_it_needs() {
        let context = Output::source("local://context", &[("local.session", "s")], None, &shown("context"));
        let copy = |name: &str| Put::Copy { from: &context, source: name.to_owned(), path: format!("m/{name}") };
        let a = Output::files(None, vec![Put::Dir("m".to_owned()), copy("a")], &shown("a"));
        let b = Output::files(Some(&a), vec![copy("b")], &shown("b"));
        let definition = b.definition();
        let ops = ops(&definition);
        assert_eq!(ops.len(), 4, "context, a, b and the end");
        let digests: Vec<String> = definition.def.iter().map(|bytes| Digest::of(bytes).to_string()).collect();
        for (at, op) in ops.iter().enumerate() {
            for input in &op.inputs {
                assert!(digests[..at].contains(&input.digest), "step {at} needs one that comes later");
            }
        }
        assert!(ops[3].kind.is_none());
        assert_eq!(definition.metadata.len(), 3);
        assert_eq!(definition.metadata[&digests[2]].description["llb.customname"], "b");
    }

    #[test]
    fn file_actions_are_chained_and_only_the_last_is_an_output() {
        let context = Output::source("local://context", &[], None, &shown("context"));
        let puts = vec![
            Put::Dir("m".to_owned()),
            Put::Copy { from: &context, source: "x".to_owned(), path: "m/x".to_owned() },
            Put::File("m/y".to_owned(), b"y".to_vec()),
        ];
        let definition = Output::files(None, puts, &shown("files")).definition();
        let Some(Kind::File(file)) = &ops(&definition)[1].kind else { panic!("want a file op") };
        let indices: Vec<_> = file.actions.iter().map(|a| (a.input, a.secondary_input, a.output)).collect();
        assert_eq!(indices, [(-1, -1, -1), (1, 0, -1), (2, -1, 0)]);
        let Some(FileActionKind::Copy(copy)) = &file.actions[1].action else { panic!("want a copy") };
        assert_eq!((copy.mode, copy.timestamp, copy.src.as_str()), (0o644, 0, "/x"));
        // Owner 0 must be on the wire: absent, BuildKit keeps the source's.
        let owner = root().encode_to_vec();
        assert_eq!(owner, [10, 2, 16, 0, 18, 2, 16, 0]);
    }

    #[test]
    fn a_program_has_no_network_and_an_output_for_each_place_it_writes_to() {
        let program = Output::source("docker-image://x", &[], None, &shown("x"));
        let run = Run {
            program: &program,
            platform: Platform::default(),
            args: vec!["/x".to_owned()],
            cwd: "/",
            reads: vec![(&program, "/r")],
            writes: vec![(None, "/a"), (Some(&program), "/b")],
        };
        let outputs = Output::run(run, &shown("run"));
        assert_eq!(outputs.iter().map(|o| o.index).collect::<Vec<_>>(), [0, 1]);
        let ops = ops(&outputs[1].definition());
        let Some(Kind::Exec(exec)) = &ops[1].kind else { panic!("want an exec op") };
        assert_eq!(exec.network, 2);
        let mounts: Vec<_> = exec.mounts.iter().map(|m| (m.input, m.dest.as_str(), m.output, m.readonly)).collect();
        assert_eq!(mounts, [(0, "/", -1, false), (1, "/r", -1, true), (-1, "/a", 0, false), (2, "/b", 1, false)]);
        assert_eq!(ops[2].inputs[0].index, 1);
    }
}
