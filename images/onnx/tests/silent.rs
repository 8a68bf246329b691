//! What the program opens: its library, the job's files, its output, and what the kernel says of the machine. No socket,
//! no file of anybody's home: ONNX Runtime would report to its makers (src/runtime.rs).

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Tiny, fixture, library};

/// What every program on Linux may read: the linker's files, and what the kernel says of the machine and of itself.
const SYSTEM: [&str; 6] = ["/etc/ld.so.", "/lib/", "/lib64/", "/usr/lib/", "/proc/", "/sys/"];

/// System calls that make a socket, and that open or change a file.
const CALLS: &str = "socket,socketpair,connect,io_uring_setup,open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,\
    linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,truncate,chmod,fchmodat,chown,fchownat";

/// Runs the program under strace, without what makes ONNX Runtime silent in tests and in CI.
fn traced(tiny: &Tiny, args: &[&str], more: &[(&str, &str)]) -> Vec<String> {
    let trace = tiny.path("trace");
    let _ = std::fs::remove_file(&trace);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "4096", "-e", &format!("trace={CALLS}"), "-e", "status=successful", "-o"]);
    strace.arg(&trace).arg(env!("CARGO_BIN_EXE_hone-train")).args(args).current_dir(tiny.path("cwd"));
    strace.env_clear().env("PATH", "/usr/bin").env("ORT_DYLIB_PATH", library()).env("HOME", tiny.path("home"));
    let out = strace.envs(more.iter().copied()).output().expect("start strace: ./x test installs it");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    std::fs::read_to_string(&trace).expect("read trace").lines().map(str::to_owned).collect()
}

/// The paths that a line of `strace -y` names: one that is relative is told after its directory, `4</out>, "a"`.
fn named(line: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = line.split('"').collect();
    let pairs = parts.chunks_exact(2).map(|pair| {
        let dir = pair[0].strip_suffix(">, ").and_then(|before| before.rsplit_once('<')).map_or("", |(_, dir)| dir);
        Path::new(dir).join(pair[1])
    });
    pairs.collect()
}

/// The calls of a trace that are none of `read` (path prefixes, for reading) and `written`.
fn strangers(trace: &[String], read: &[&Path], written: &Path) -> BTreeSet<String> {
    let below = |path: &str, all: &[&Path]| all.iter().any(|of| Path::new(path).starts_with(of));
    let told = |line: &&String| {
        if line.contains("+++") || line.contains("---") {
            return true;
        }
        // After the equals sign strace names the file that was opened.
        let opened =
            line.rsplit_once("= ").and_then(|(_, r)| r.split_once('<')).map(|(_, p)| p.trim_end_matches('>'));
        let named = named(line);
        match opened {
            Some(path) if line.contains("O_WRONLY") || line.contains("O_RDWR") => below(path, &[written]),
            Some(path) => {
                SYSTEM.iter().any(|of| path.starts_with(of)) || below(path, read) || below(path, &[written])
            }
            None => !named.is_empty() && named.iter().all(|path| path.starts_with(written)),
        }
    };
    trace.iter().filter(|line| !told(line)).cloned().collect()
}

#[test]
fn no_verb_opens_a_socket_or_a_file_but_those_it_says() {
    let tiny = Tiny::new();
    for dir in ["home", "cwd", "written"] {
        std::fs::create_dir_all(tiny.path(dir)).expect("make directory");
    }
    let text = |path: std::path::PathBuf| path.display().to_string();
    let (model, data, out) = (text(tiny.model()), text(tiny.data()), text(tiny.path("written/out")));
    let (golden, logits) = (text(fixture("golden/llama")), text(tiny.path("written/logits")));
    let adapter = format!("{out}/adapter");
    let verbs: [&[&str]; 4] = [
        &["golden", &golden],
        &["logits", "--model", &model, "--tokens", "1,2,3", "--output", &logits],
        &["train", "--model", &model, "--data", &data, "--out", &out, "--steps", "2", "--max-length", "64"],
        &["generate", "--model", &model, "--adapter", &adapter, "--prompt", "q1", "--max-tokens", "2"],
    ];
    let (library, golden_dir) = (library(), fixture("golden/llama").canonicalize().expect("fixture"));
    let library = library.canonicalize().expect("library");
    let reads = [library.as_path(), &golden_dir, &tiny.model(), &tiny.data(), Path::new("/dev/null")];
    for verb in verbs {
        let trace = traced(&tiny, verb, &[]);
        assert!(trace.iter().any(|line| line.contains("libonnxruntime")), "{verb:?} opens the library");
        assert_eq!(strangers(&trace, &reads, &tiny.path("written")), BTreeSet::new(), "{verb:?}");
        // Neither may somebody's own setting turn it on.
        let trace = traced(&tiny, verb, &[("ORT_DISABLE_TELEMETRY", "0")]);
        assert_eq!(strangers(&trace, &reads, &tiny.path("written")), BTreeSet::new(), "{verb:?}");
    }
    for dir in ["home", "cwd"] {
        assert_eq!(std::fs::read_dir(tiny.path(dir)).expect("list").count(), 0, "{dir} stays empty");
    }
}

#[test]
fn the_trace_sees_what_is_not_said() {
    let read = [Path::new("/model")];
    for (line, stranger) in [
        (r#"7 openat(AT_FDCWD</x>, "/model/config.json", O_RDONLY|O_CLOEXEC) = 3</model/config.json>"#, false),
        (r#"7 openat(AT_FDCWD</x>, "/model/config.json", O_RDWR) = 3</model/config.json>"#, true),
        (r#"7 openat(AT_FDCWD</x>, "/root/.ssh/id", O_RDONLY) = 3</root/.ssh/id>"#, true),
        (r#"7 openat(AT_FDCWD</x>, "/out/a", O_WRONLY|O_CREAT) = 3</out/a>"#, false),
        (r#"7 mkdir("/home/.cache", 0700) = 0"#, true),
        (r#"7 rename("/out/a", "/out/b") = 0"#, false),
        (r#"7 rename("/out/a", "/b") = 0"#, true),
        (r#"7 unlinkat(4</out/x>, "b", 0) = 0"#, false),
        (r#"7 unlinkat(4</x>, "b", 0) = 0"#, true),
        (r#"7 socket(AF_INET, SOCK_STREAM, 0) = 5<TCP:[1]>"#, true),
        ("7 +++ exited with 0 +++", false),
    ] {
        let found = strangers(&[line.to_owned()], &read, Path::new("/out"));
        assert_eq!(!found.is_empty(), stranger, "{line}");
    }
}
