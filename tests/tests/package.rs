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
        "share/doc/hone/examples/quickstart/data/captain.jsonl",
    ] {
        assert!(there.contains(&format!("/usr/{file}")), "{file}: {there:?}");
    }
    debian.sh("hone build /mnt/quickstart -t assistant:base").ok();
    debian.sh("hone run --rm -v /mnt/quickstart/data:/data assistant:base").says("committed assistant:base-v1");
    let answer = debian.sh("hone run --rm assistant:base-v1 generate --prompt Hello --max-tokens 4").ok();
    assert!(!answer.is_empty());
    debian.sh("hone verify assistant:base-v1").ok();
    debian.sh("hone install docker && grep -q /usr/lib/hone/hone-runtime /etc/docker/daemon.json").ok();
    debian.sh("hone install docker --config /opt/docker/daemon.json").ok();

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
    // The same cargo-deb, where `./x` has one of its own.
    fs::create_dir(copy.path().join(".cache")).expect("make directory");
    symlink(repository().join(".cache/tools"), copy.path().join(".cache/tools")).expect("link");
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

/// A directory with a tree to put, and a PREFIX with somebody's file.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().expect("tempdir"));
        for file in ["tree/lib/hone/hone", "tree/share/man/man1/hone.1.gz", "prefix/bin/other"] {
            scratch.write(file, "x");
        }
        fs::create_dir(scratch.path().join("tree/bin")).expect("make directory");
        symlink("../lib/hone/hone", scratch.path().join("tree/bin/hone")).expect("link");
        scratch
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make directory");
        fs::write(path, text).expect("write");
    }

    /// Runs `put` or `take`.
    fn sh(&self, program: &str, args: &[&str]) -> Ran {
        run(Command::new(repository().join("packaging").join(program)).args(args).current_dir(self.path()))
    }
}

#[test]
fn what_was_put_is_taken_and_nothing_else() {
    let dir = Scratch::new();
    let write = |path: &str| dir.write(path, "x");
    let sh = |program: &str, args: &[&str]| dir.sh(program, args);
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
fn what_became_another_s_since_is_left_and_told() {
    let dir = Scratch::new();
    let to = dir.path().join("prefix");
    let installed = || fs::read_to_string(to.join("lib/hone/installed")).expect("the list");
    dir.sh("put", &["tree", "prefix"]).ok();
    // A file that is another now, and a directory in the place of one.
    dir.write("prefix/lib/hone/hone", "mine");
    fs::remove_file(to.join("bin/hone")).expect("remove");
    dir.write("prefix/bin/hone/mine", "x");
    let before = below(&to);
    assert!(dir.sh("put", &["tree", "prefix"]).fails(1).contains("prefix/bin/hone is there, and none of Hone's"));
    assert_eq!(below(&to), before);
    let said = dir.sh("take", &["prefix"]);
    said.ok();
    for left in ["prefix/bin/hone", "prefix/lib/hone/hone"] {
        said.says(&format!("left: {left}, which is not what was put there"));
    }
    let mine = ["./bin", "./bin/hone", "./bin/hone/mine", "./bin/other", "./lib", "./lib/hone", "./lib/hone/hone"];
    assert_eq!(below(&to), mine);
    fs::remove_dir_all(to.join("bin/hone")).expect("remove");
    fs::remove_dir_all(to.join("lib")).expect("remove");

    // A directory that an earlier version made, and that was not empty when it went, goes with the last.
    dir.sh("put", &["tree", "prefix"]).ok();
    dir.write("prefix/share/man/mine", "x");
    fs::remove_dir_all(dir.path().join("tree/share")).expect("remove");
    dir.sh("put", &["tree", "prefix"]).says("left: prefix/share/man/, which is not empty").ok();
    assert!(installed().contains("./share/man/\n") && !installed().contains("man1"), "{}", installed());
    fs::remove_file(to.join("share/man/mine")).expect("remove");
    dir.sh("take", &["prefix"]).ok();
    assert_eq!(below(&to), ["./bin", "./bin/other"]);
    // What was cut off in the middle is taken away, too.
    dir.sh("put", &["tree", "prefix"]).ok();
    fs::remove_file(to.join("bin/hone")).expect("remove");
    dir.write("prefix/lib/hone/.new/bin/hone", "x");
    dir.sh("take", &["prefix"]).ok();
    assert_eq!(below(&to), ["./bin", "./bin/other"]);
}

/// Runs a script as root, with /home and /var/lib of its own; what is in packaging/debian is in /mnt.
fn alone(script: &str) -> Ran {
    let script = format!(
        "set -e; mount -t tmpfs t /mnt; cp $0/* /mnt; mount -t tmpfs t /home; mount -t tmpfs t /var/lib; {script}"
    );
    let debian = repository().join("packaging/debian");
    run(Command::new("unshare").args(["--mount", "sh", "-c", &script]).arg(debian).env_remove("HONE_ROOT"))
}

#[test]
fn root_a_package_that_goes_is_forgotten_in_every_store_and_each_user_s_as_the_user() {
    if !needs(&["unshare", "setpriv"]) {
        return;
    }
    let said = alone(
        "hone=/var/lib/prefix/lib/hone/hone; mkdir -p $(dirname $hone); chmod 755 /var/lib /home
         printf '#!/bin/sh\necho $(id -u):$(id -g) $HOME \"$@\"\n[ $2 = /var/lib/hone ]\n' >$hone; chmod 755 $hone
         for at in /var/lib/hone /home/sailor/.local/share/hone /home/root/.local/share/hone; do
             mkdir -p $at/install; touch $at/install/docker.json
         done
         touch /var/lib/hone/install/podman.json; chown -R 1234:1235 /home/sailor
         export HOME=/root HONE_PREFIX=/var/lib/prefix; /mnt/prerm upgrade; /mnt/prerm remove",
    );
    let want = "0:0 /root --root /var/lib/hone uninstall docker --all\n\
                0:0 /root --root /var/lib/hone uninstall podman --all\n\
                1234:1235 /home/sailor --root /home/sailor/.local/share/hone uninstall docker --all";
    assert_eq!(said.ok(), want);
    // What fails is told, and stops no removal.
    assert_eq!(
        said.stderr.matches("docker still names the runtime /var/lib/prefix/lib/hone/hone-runtime").count(),
        1
    );
}

#[test]
fn root_purging_empties_a_store_wherever_it_is() {
    if !needs(&["unshare"]) {
        return;
    }
    let purge = |script: &str| alone(&format!("mkdir -p /var/lib/hone/blobs; touch /var/lib/hone/blobs/x; {script}"));
    let find = "/mnt/postrm purge; find /var/lib -mindepth 1";
    assert_eq!(purge(find).ok(), "");
    let mounted = purge(&format!("mount -t tmpfs t /var/lib/hone; touch /var/lib/hone/x; {find}"));
    assert_eq!(mounted.says("left: /var/lib/hone").ok(), "/var/lib/hone");
    // What is mounted below it is somebody's.
    let below = purge(&format!("mount -t tmpfs t /var/lib/hone/blobs; touch /var/lib/hone/blobs/mine; {find}"));
    assert_eq!(below.says("left: /var/lib/hone").ok().lines().last(), Some("/var/lib/hone/blobs/mine"));
    assert_eq!(
        purge(&format!("mv /var/lib/hone /var/lib/big; ln -s big /var/lib/hone; {find}")).ok(),
        "/var/lib/big"
    );
}

#[test]
fn the_documents_that_are_packed_are_the_repository_s() {
    let named = run(Command::new("sh").args(["-c", ". packaging/package.sh; echo $DOCS"]).current_dir(repository()));
    let mut git = Command::new("git");
    git.args(["ls-files", "README.md", "LICENSE", "docs", "examples/quickstart"]).current_dir(repository());
    let set = |text: String| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(set(named.ok()), set(run(&mut git).ok()));
}

#[test]
fn what_fails_while_setting_up_is_the_end_of_it() {
    let copy = copy();
    let programs = [
        ("cargo", "echo cargo $*"),
        ("rustc", "echo /"),
        ("dpkg-query", "exit 1"),
        ("sudo", "exec \"$@\""),
        ("apt-get", "exit 1"),
    ];
    for (name, script) in programs {
        let path = copy.path().join("fake/bin").join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make directory");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        run(Command::new("chmod").arg("+x").arg(path)).ok();
    }
    let fake = copy.path().join("fake");
    let other = if std::env::consts::ARCH == "x86_64" { "aarch64" } else { "x86_64" };
    for args in [&["setup"][..], &["build"], &["lint"], &["package"], &["package", other], &["install", "/nowhere"]] {
        let path = format!("{}/bin:{}", fake.display(), std::env::var("PATH").expect("PATH"));
        let ran = run(x(copy.path()).args(args).env("CARGO_HOME", &fake).env("PATH", path));
        assert!(ran.fails(1).contains("installing"), "{ran}");
        assert!(!ran.text().contains("libseccomp 2.6.0") && !ran.text().contains("cargo build"), "{ran}");
    }
    // A wheel's member is there whole or not at all, whether or not the shell stops at what fails.
    let script = "eval \"$(sed -n '/^member() {/,/^}/p' x)\"
        python3 -c 'import zipfile; zipfile.ZipFile(\"good.whl\", \"w\").writestr(\"a\", \"x\" * 99999)'
        (head -c 9999 good.whl; printf y; tail -c +10001 good.whl) >bad.whl
        member good.whl a out/good && ! member bad.whl a out/bad && ls out/good && ! ls out/bad";
    run(Command::new("sh").args(["-c", script]).current_dir(copy.path())).ok();
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
