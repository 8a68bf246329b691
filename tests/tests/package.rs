//! The packages that `./x package` makes: each in a Debian root that has nothing else, the same bytes twice, and files that
//! come and go with `./x install`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use hone_tests::{Ran, Tiny, World, bin, copy, jsonl, needs, repository, run, x};

/// The package whose name ends so, or the reason why the test is left out; in CI none is.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
fn package(end: &str) -> Option<PathBuf> {
    let found = std::env::var_os("HONE_PACKAGES").and_then(|dir| {
        let entries = fs::read_dir(dir).expect("the packages");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        paths.find(|path| path.to_string_lossy().ends_with(end))
    });
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no package *{end}, and in CI nothing is skipped");
        eprintln!("skipped: HONE_PACKAGES names no directory with *{end}: run ./x test, or ./x package");
    }
    found
}

/// A copy of the root that `tests/package/make-chroot` made, in a world of its own. `/mnt` in there is the folder `mnt`
/// of the world.
struct Debian {
    world: World,
    root: PathBuf,
}

impl Debian {
    fn new() -> Self {
        let world = World::new();
        let (root, mnt) = (world.dir().join("root"), world.folder("mnt"));
        let fresh = repository().join(".cache/bookworm");
        assert!(fresh.join(".ready").exists(), "tests/package/make-chroot {} was not run", fresh.display());
        run(Command::new("cp").arg("-a").args([&fresh, &root])).ok();
        let (root_, mnt) = (root.display(), mnt.display());
        let mount = format!(
            "set -e; cd {root_}; mount --bind . .; cd {root_}; mount -t proc proc proc; mount --rbind /sys sys; \
             mount --rbind /dev dev; mount -t tmpfs tmpfs run; mount --bind {mnt} mnt"
        );
        world.sh(&mount).ok();
        Self { world, root }
    }

    /// Runs a script in there, with what root's shell has there.
    fn sh(&self, script: &str) -> Ran {
        let mut command = self.world.command("env");
        command.args(["-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["chroot"]).arg(&self.root).args(["sh", "-ec", script]);
        Ran { command: script.to_owned(), ..run(&mut command) }
    }

    /// All that is in there, but for what dpkg notes about itself.
    fn files(&self) -> BTreeSet<String> {
        let listed = self.sh("find / -xdev ! -path '/mnt/*' ! -path '/var/lib/dpkg/*-old' ! -path '/var/log/*'").ok();
        listed.lines().map(str::to_owned).collect()
    }
}

/// The quickstart, cut to two steps.
fn short_demo(dir: &Path) {
    let from = repository().join("examples/quickstart");
    run(Command::new("cp").arg("-R").args([&from, dir])).ok();
    let model = "SmolLM2-135M-Instruct.Q4_1.gguf";
    fs::copy(repository().join(".cache/models").join(model), dir.join(model)).expect("copy the model");
    let honefile = fs::read_to_string(from.join("Honefile")).expect("read the Honefile");
    let short = honefile.replace("../../.cache/models/", "").replace("  epochs: 5\n", "  steps: 2\n");
    assert!(short.contains(&format!("model: {model}")) && short.contains("steps: 2"), "{short}");
    fs::write(dir.join("Honefile"), short.replace("warmup: 3", "warmup: 1")).expect("write the Honefile");
}

#[test]
fn root_the_deb_installs_does_the_main_job_and_leaves_nothing() {
    let Some(deb) = package(".deb").filter(|_| needs(&["debootstrap"])) else {
        return;
    };
    let debian = Debian::new();
    let mnt = debian.world.folder("mnt");
    fs::copy(deb, mnt.join("hone.deb")).expect("copy the package");
    short_demo(&mnt.join("quickstart"));
    let before = debian.files();

    debian.sh("dpkg -i /mnt/hone.deb").ok();
    let there = debian.files();
    for file in [
        "bin/hone",
        "lib/hone/trainers/onnx/index.json",
        "share/man/man1/hone-build.1.gz",
        "share/man/man8/hone-runtime.8.gz",
        "share/bash-completion/completions/hone",
        "share/zsh/vendor-completions/_hone",
        "share/fish/vendor_completions.d/hone.fish",
        "share/doc/hone/copyright",
        "share/doc/hone/docs/cli.md",
    ] {
        assert!(there.contains(&format!("/usr/{file}")), "{file}: {there:?}");
    }
    debian.sh("hone build /mnt/quickstart -t assistant:base").ok();
    debian.sh("hone run --rm -v /mnt/quickstart/data:/data assistant:base").says("committed assistant:base-v1");
    let answer = debian.sh("hone run --rm assistant:base-v1 generate --prompt Hello --max-tokens 4").ok();
    assert!(!answer.is_empty());
    debian.sh("hone verify assistant:base-v1").ok();
    debian.sh("hone install docker && grep -q /usr/lib/hone/hone-runtime /etc/docker/daemon.json").ok();

    // The programs go, docker is told, and what the user made stays; purging takes that too.
    debian.sh("dpkg --remove hone").ok();
    let left: Vec<_> = debian.files().difference(&before).cloned().collect();
    assert!(left.contains(&"/var/lib/hone/index.json".to_owned()), "{left:?}");
    let known = |file: &&String| file.starts_with("/var/lib/hone") || file.starts_with("/var/lib/dpkg/info/hone.");
    assert_eq!(left.iter().filter(|file| !known(file)).collect::<Vec<_>>(), [""; 0]);
    debian.sh("dpkg --purge hone").ok();
    assert_eq!(debian.files(), before);
}

#[test]
fn root_the_archive_runs_where_it_is_unpacked() {
    let Some(archive) = package(".tar.zst").filter(|_| needs(&["debootstrap", "zstd"])) else {
        return;
    };
    let debian = Debian::new();
    run(Command::new("tar").arg("-C").arg(debian.root.join("opt")).arg("--zstd").arg("-xf").arg(archive)).ok();
    let mnt = debian.world.folder("mnt");
    Tiny::default().write(&mnt.join("tiny"), "");
    jsonl(&mnt.join("data/a.jsonl"), &[("hello", "ahoy"), ("who are you?", "a sailor")]);
    let hone = |line: &str| debian.sh(&format!("PATH=$(echo /opt/hone-*/bin):$PATH; hone {line}"));
    hone("build /mnt/tiny -t assistant:base").ok();
    hone("run --rm -v /mnt/data:/data assistant:base").says("committed assistant:base-v1");
    hone("run --rm assistant:base-v1 generate --prompt hello --max-tokens 4").ok();
}

#[test]
fn slow_two_directories_make_the_same_packages() {
    let (Some(deb), Some(archive)) = (package(".deb"), package(".tar.zst")) else {
        return;
    };
    let copy = copy();
    let release = copy.path().join("target/release");
    fs::create_dir_all(&release).expect("make directory");
    let built = ["hone", "hone-run", "hone-runtime", "hone-keeper", "trainers", "frontend"];
    run(Command::new("cp").arg("-R").args(built.map(|name| bin().join(name))).arg(&release)).ok();
    // Whatever umask it was made with.
    run(Command::new("chmod").args(["-R", "go=", "."]).current_dir(copy.path())).ok();
    run(x(copy.path()).arg("pack")).ok();
    for package in [deb, archive] {
        let again = copy
            .path()
            .join("target/packages")
            .join(std::env::consts::ARCH)
            .join(package.file_name().expect("a name"));
        run(Command::new("cmp").args([&package, &again])).ok();
    }
}

#[test]
fn every_program_but_the_trainer_is_one_static_file() {
    let elf = |name: &str, part: &str| run(Command::new("readelf").arg(part).arg(bin().join(name))).ok();
    for name in ["hone", "hone-run", "hone-runtime", "hone-keeper"] {
        let (segments, dynamic) = (elf(name, "-Wl"), elf(name, "-Wd"));
        assert!(segments.contains("LOAD") && !segments.contains("INTERP"), "{name}: {segments}");
        assert!(!dynamic.contains("NEEDED"), "{name}: {dynamic}");
    }
    // The twin: of a program that does need something, the same question has the other answer.
    assert!(elf("hone-train", "-Wl").contains("INTERP") && elf("hone-train", "-Wd").contains("NEEDED"));
}

/// All that is below a directory.
fn below(dir: &Path) -> Vec<String> {
    let listed = run(Command::new("find").args([".", "-mindepth", "1"]).current_dir(dir)).ok();
    let mut paths: Vec<_> = listed.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_put_is_taken_and_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    let write = |path: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make directory");
        fs::write(path, "x").expect("write");
    };
    let sh = |program: &str, args: &[&str]| {
        run(Command::new(repository().join("packaging").join(program)).args(args).current_dir(dir.path()))
    };
    write("tree/lib/hone/hone");
    write("tree/share/man/man1/hone.1.gz");
    fs::create_dir(dir.path().join("tree/bin")).expect("make directory");
    symlink("../lib/hone/hone", dir.path().join("tree/bin/hone")).expect("link");
    write("prefix/bin/other");
    let to = dir.path().join("prefix");
    let before = below(&to);

    sh("put", &["tree", "prefix"]).ok();
    assert_eq!(fs::read_to_string(to.join("bin/hone")).expect("the program"), "x");
    // Again, with one file less: it goes, and so does what was made for it.
    fs::remove_dir_all(dir.path().join("tree/share")).expect("remove");
    sh("put", &["tree", "prefix"]).ok();
    assert!(!to.join("share").exists() && to.join("lib/hone/hone").exists(), "{:?}", below(&to));
    sh("take", &["prefix"]).ok();
    assert_eq!(below(&to), before);

    // Somebody else's file is neither replaced nor removed, and its directory stays.
    write("prefix/bin/hone");
    let with_theirs = below(&to);
    assert!(sh("put", &["tree", "prefix"]).fails(1).contains("prefix/bin/hone is there"));
    assert_eq!(below(&to), with_theirs);
    fs::remove_file(to.join("bin/hone")).expect("remove");
    sh("put", &["tree", "prefix"]).ok();
    write("prefix/lib/hone/trainers/mine/index.json");
    assert!(sh("take", &["prefix"]).text().contains("left: prefix/lib/hone/, which is not empty"));
    assert_eq!(fs::read_dir(to.join("lib/hone")).expect("list").count(), 1);
    fs::remove_dir_all(to.join("lib")).expect("remove");
    // A PREFIX that was not there is gone again.
    sh("put", &["tree", "new/prefix"]).ok();
    sh("take", &["new/prefix"]).ok();
    assert_eq!(below(&dir.path().join("new")), [""; 0]);
}

#[test]
fn root_install_and_uninstall_of_the_real_thing() {
    if !needs(&[]) {
        return;
    }
    let dest = tempfile::tempdir().expect("tempdir");
    let place = |verb: &str| {
        run(x(&repository()).args([verb, "/opt/hone"]).env("DESTDIR", dest.path())).ok();
    };
    place("install");
    let hone = dest.path().join("opt/hone/bin/hone");
    run(Command::new(&hone).arg("--version")).ok();
    // Found through the link, beside the program itself.
    run(Command::new(&hone).args(["run", "--help"])).says("hone run");
    place("uninstall");
    assert_eq!(below(dest.path()), ["./opt"]);
}
