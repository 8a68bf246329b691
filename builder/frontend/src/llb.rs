//! Steps for BuildKit as values: what is fetched, run and copied, and the graph that they make.
//!
//! Nothing here talks to anyone. A step is known by the digest of its bytes, so that two ways of asking for the same
//! become one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hone_contract::Digest;
use prost::Message;

use crate::proto::ops::{
    Definition, ExecOp, FileAction, FileActionKind, FileActionMkFile, FileOp, Input, Kind, Meta, Mount, NONE, Op,
    OpMetadata, Platform, SourceOp,
};

/// `pb.NetMode`: no network at all.
const NO_NETWORK: i32 = 2;
/// Permissions of a written file.
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

/// What a program reads.
#[derive(Debug)]
pub struct Read<'a> {
    /// The filesystem.
    pub from: &'a Output,
    /// The file or directory in it; empty: all of it. What else is in it changes nothing then.
    pub part: String,
    /// Where the program finds it.
    pub at: String,
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
    /// What it reads.
    pub reads: Vec<Read<'a>>,
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

    /// Files of these names and bytes, and nothing else.
    pub fn files(files: Vec<(&str, Vec<u8>)>, shown: &Shown) -> Self {
        let count = files.len() as i64;
        let actions = files.into_iter().zip(0..).map(|((name, data), n)| {
            let file = FileActionMkFile { path: format!("/{name}"), mode: FILE, data, timestamp: 0 };
            FileAction {
                input: if n == 0 { NONE } else { n - 1 },
                secondary_input: NONE,
                output: if n + 1 == count { 0 } else { NONE },
                action: Some(FileActionKind::MkFile(file)),
            }
        });
        let actions = actions.collect();
        Self::first(step(Kind::File(FileOp { actions }), vec![], None, shown))
    }

    /// What a program writes: an output for each of [`Run::writes`].
    pub fn run(run: Run<'_>, shown: &Shown) -> Vec<Self> {
        let mut inputs = vec![run.program.clone()];
        let count = run.writes.len() as i64;
        let mount = |input: usize, dest: &str, output: i64| Mount {
            input: input as i64,
            dest: dest.to_owned(),
            output,
            ..Mount::default()
        };
        // The root is an output, too, though nobody wants it: without one, BuildKit may make it read-only, and there is
        // no place for the other mounts. It is the first, because BuildKit counts outputs in the order of the mounts.
        let mut mounts = vec![mount(0, "/", 0)];
        for read in run.reads {
            let selector = read.part;
            mounts.push(Mount { readonly: true, selector, ..mount(inputs.len(), &read.at, NONE) });
            inputs.push(read.from.clone());
        }
        for ((onto, dest), output) in run.writes.into_iter().zip(1..) {
            let input = if onto.is_some() { inputs.len() as i64 } else { NONE };
            mounts.push(Mount { input, ..mount(0, dest, output) });
            inputs.extend(onto.cloned());
        }
        let meta = Some(Meta { args: run.args, cwd: run.cwd.to_owned() });
        let exec = Kind::Exec(ExecOp { meta, mounts, network: NO_NETWORK });
        let step = step(exec, inputs, Some(run.platform), shown);
        (1..=count).map(|index| Self { step: Arc::clone(&step), index }).collect()
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
}

fn step(kind: Kind, inputs: Vec<Output>, platform: Option<Platform>, shown: &Shown) -> Arc<Step> {
    let op = Op { inputs: inputs.iter().map(Output::as_input).collect(), kind: Some(kind), platform };
    let bytes = op.encode_to_vec();
    let description = BTreeMap::from([("llb.customname".to_owned(), shown.name.clone())]);
    let metadata = OpMetadata { ignore_cache: shown.ignore_cache, description };
    Arc::new(Step { digest: Digest::of(&bytes).to_string(), bytes, metadata, inputs })
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

    fn run<'a>(program: &'a Output, reads: Vec<Read<'a>>, writes: Vec<(Option<&'a Output>, &'a str)>) -> Run<'a> {
        let args = vec!["/x".to_owned()];
        Run { program, platform: Platform::default(), args, cwd: "/", reads, writes }
    }

    fn read<'a>(from: &'a Output, part: &str) -> Read<'a> {
        Read { from, part: part.to_owned(), at: "/r".to_owned() }
    }

    #[test]
    fn a_graph_lists_each_step_once_after_those_it_needs() {
        let program = Output::source("docker-image://x", &[], None, &shown("x"));
        let context = Output::source("local://context", &[("local.session", "s")], None, &shown("context"));
        let a = Output::run(run(&program, vec![read(&context, "a")], vec![(None, "/w")]), &shown("a"));
        let b = Output::run(run(&program, vec![read(&context, "b")], vec![(a.first(), "/w")]), &shown("b"));
        let definition = b[0].definition();
        let ops = ops(&definition);
        assert_eq!(ops.len(), 5, "program, context, a, b and the end");
        let digests: Vec<String> = definition.def.iter().map(|bytes| Digest::of(bytes).to_string()).collect();
        for (at, op) in ops.iter().enumerate() {
            for input in &op.inputs {
                assert!(digests[..at].contains(&input.digest), "step {at} needs one that comes later");
            }
        }
        assert!(ops[4].kind.is_none());
        assert_eq!(definition.metadata.len(), 4);
        assert_eq!(definition.metadata[&digests[3]].description["llb.customname"], "b");
    }

    #[test]
    fn file_actions_are_chained_and_only_the_last_is_an_output() {
        let files = vec![("x", b"1".to_vec()), ("y", b"2".to_vec())];
        let definition = Output::files(files, &shown("files")).definition();
        let Some(Kind::File(file)) = &ops(&definition)[0].kind else { panic!("want a file op") };
        let indices: Vec<_> = file.actions.iter().map(|a| (a.input, a.secondary_input, a.output)).collect();
        assert_eq!(indices, [(-1, -1, -1), (0, -1, 0)]);
    }

    #[test]
    fn a_program_has_no_network_and_an_output_for_each_place_it_writes_to() {
        let program = Output::source("docker-image://x", &[], None, &shown("x"));
        let writes = vec![(None, "/a"), (Some(&program), "/b")];
        let outputs = Output::run(run(&program, vec![read(&program, "p")], writes), &shown("run"));
        assert_eq!(outputs.iter().map(|o| o.index).collect::<Vec<_>>(), [1, 2]);
        let ops = ops(&outputs[1].definition());
        let Some(Kind::Exec(exec)) = &ops[1].kind else { panic!("want an exec op") };
        assert_eq!(exec.network, 2);
        let mounts: Vec<_> = exec.mounts.iter().map(|m| (m.input, m.dest.as_str(), m.output, m.readonly)).collect();
        assert_eq!(mounts, [(0, "/", 0, false), (1, "/r", -1, true), (-1, "/a", 1, false), (2, "/b", 2, false)]);
        assert_eq!(exec.mounts[1].selector, "p");
        assert_eq!(ops[2].inputs[0].index, 2);
    }
}
