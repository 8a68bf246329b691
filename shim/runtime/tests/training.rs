//! Training containers: the fence, the staging directory, PID 1 and the keeper (docs/contract.md).

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{HONE, World, can_run, wait_until};
use serde_json::{Value, json};

/// What the keeper starts as `hone`: notes its arguments and what it finds, then does as the test wants.
const COMMIT: &str = r#"#!/bin/sh
for dir; do :; done
{ echo "$*"; cat "$dir/exit.json" 2>/dev/null; ls "$dir/out"; } > "$(dirname "$0")/committed"
sleep "$(cat "$(dirname "$0")/delay" 2>/dev/null || echo 0)"
touch "$(dirname "$0")/done"
grep -q '"code": 0' "$dir/exit.json" 2>/dev/null && exit 0
echo "exit.json does not say 0" >&2
exit 1
"#;

/// The trainer of these tests, as a script that the image carries.
const TRAIN: [&str; 3] = ["sh", "/train.sh", "all"];

struct Training {
    world: World,
    bin: PathBuf,
    hone_root: PathBuf,
    log: PathBuf,
}

impl Training {
    /// An image whose trainer does `script`.
    fn new(script: &str) -> Self {
        Self::with_options(script, &[])
    }

    fn with_options(script: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("tempdir").keep();
        let bin = dir.join("bin");
        fs::create_dir(&bin).expect("mkdir");
        install(Path::new(HONE), &bin);
        install(&keeper(), &bin);
        fs::write(bin.join("hone"), COMMIT).expect("write");
        fs::set_permissions(bin.join("hone"), fs::Permissions::from_mode(0o755)).expect("chmod");
        let (hone_root, log) = (dir.join("root"), dir.join("log.json"));
        let world = World::new(bin.join("hone-runtime"));
        let own =
            ["--hone-root", &hone_root.to_string_lossy(), "--log", &log.to_string_lossy(), "--log-format", "json"]
                .map(str::to_owned);
        let all: Vec<&str> = own.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let world = world.with_options(&all);
        fs::create_dir_all(world.rootfs().join("hone/out")).expect("mkdir");
        let training = Self { world, bin, hone_root, log };
        training.job(|_| {}).script(script);
        training.configure(|_| {});
        training
    }

    fn job(&self, edit: impl FnOnce(&mut Value)) -> &Self {
        let mut job = json!({
            "contract": 1, "name": "assistant",
            "trainer": {
                "name": "rootfs", "digest": format!("sha256:{}", "0".repeat(64)), "command": TRAIN,
                "readonly_root": true
            },
            "resources": {"memory": 96 << 20, "pids": 40},
            "adapter": {"commit": true, "tag": "{tag}-v{n}", "max_bytes": 1000}
        });
        edit(&mut job);
        fs::write(self.world.rootfs().join("hone/job.json"), job.to_string()).expect("write");
        self
    }

    fn script(&self, script: &str) -> &Self {
        fs::write(self.world.rootfs().join("train.sh"), script).expect("write");
        self
    }

    /// As the container's user 1000, with data at /data.
    fn configure(&self, edit: impl FnOnce(&mut Value)) -> &Self {
        let data = self.bin.with_file_name("data");
        fs::create_dir_all(&data).expect("mkdir");
        fs::write(data.join("examples.jsonl"), "{}\n").expect("write");
        self.world.configure(|config| {
            config["process"]["args"] = json!(TRAIN);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            let mount = json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind", "rw"]});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
            edit(config);
        });
        self
    }

    fn staging(&self) -> PathBuf {
        self.hone_root.join("staging").join(self.world.id())
    }

    fn record(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.staging().join(name)).expect(name)).expect("json")
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.world.run(&["delete", "-f", self.world.id()]);
        if let Some(dir) = self.bin.parent() {
            // Left behind when a keeper still writes: the test has failed then.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// A hard link where it can be one: the programs are large.
fn install(program: &Path, bin: &Path) {
    let target = bin.join(program.file_name().expect("name"));
    if fs::hard_link(program, &target).is_err() {
        fs::copy(program, &target).expect("copy");
    }
}

/// The keeper lies beside the runtime; cargo builds it only for tests of its own package.
fn keeper() -> PathBuf {
    let path = Path::new(HONE).with_file_name("hone-keeper");
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--package", "hone-keeper"]).status().expect("cargo");
        assert!(built.success());
    }
    path
}

#[test]
fn root_a_finished_run_is_recorded_and_committed_before_delete_returns() {
    if !can_run() {
        return;
    }
    let training = Training::new("mkdir /hone/out/adapter; echo x > /hone/out/adapter/adapter_config.json");
    fs::write(training.bin.join("delay"), "1").expect("write");
    training.world.foreground().ok();
    assert!(training.bin.join("done").exists(), "delete waited for the commit");
    let out = fs::metadata(training.staging().join("out")).expect("out");
    assert_eq!((out.uid(), out.gid(), out.mode() & 0o777), (1000, 1000, 0o700));
    assert_eq!(fs::metadata(training.staging()).expect("staging").mode() & 0o777, 0o700);
    let (run, exit) = (training.record("run.json"), training.record("exit.json"));
    assert_eq!(run["id"], training.world.id());
    assert_eq!(run["engine"]["kind"], "none");
    assert_eq!(run["job"]["name"], "assistant");
    assert_eq!((&exit["code"], &exit["oom"]), (&json!(0), &json!(false)));
    let committed = fs::read_to_string(training.bin.join("committed")).expect("hone was started");
    let want = format!("commit --root {} {}\n", training.hone_root.display(), training.staging().display());
    assert!(committed.starts_with(&want) && committed.contains("adapter"), "{committed}");
    assert_eq!(training.log(), "", "nothing to tell");
}

#[test]
fn root_the_fence_holds() {
    if !can_run() {
        return;
    }
    let training = Training::new(
        "ip -o link | grep -v LOOPBACK | grep -vE 'tunl0|sit0|gre|erspan|vti|ip6' && exit 10
         touch /data/x /data/below/x 2>/dev/null && exit 11
         touch /x /hone/x /hone/job.json 2>/dev/null && exit 12
         touch /hone/out/x || exit 13
         [ \"$(cat /proc/self/oom_score_adj)\" = 1000 ] || exit 14
         readlink /proc/1/exe && exit 15
         ls /proc/1/fd 2>/dev/null && exit 16
         [ \"$(ls /proc/self/fd | wc -l)\" -le 4 ] || exit 17
         cat /data/examples.jsonl",
    );
    let below = training.bin.with_file_name("data").join("below");
    fs::create_dir_all(&below).expect("mkdir");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&below).status().expect("mount");
    assert!(mounted.success());
    training.configure(|config| {
        // As an engine would have it: a namespace that somebody else made, here the host's own.
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|ns| ns["type"] != "network");
        namespaces.push(json!({"type": "network", "path": "/proc/1/ns/net"}));
    });
    let ran = training.world.foreground();
    Command::new("umount").arg(&below).status().expect("umount");
    assert_eq!(ran.ok(), "{}\n");
}

#[test]
fn root_an_interface_that_a_hook_brings_in_stops_the_container() {
    if !can_run() {
        return;
    }
    let training = Training::new("true");
    training.configure(|config| {
        let script =
            "pid=$(sed 's/.*\"pid\"://; s/,.*//'); nsenter -t $pid -n ip link add eth9 type veth peer name eth8";
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]});
    });
    let err = training.world.foreground().fails(1);
    assert!(err.contains("network interfaces") && err.contains("eth9"), "{err}");
    assert!(!training.staging().exists(), "a run that never began leaves nothing");
}

#[test]
fn root_a_bad_end_is_recorded_and_told_in_the_log() {
    if !can_run() {
        return;
    }
    for (script, code, signal) in [("exit 3", 3, Value::Null), ("kill -9 $$", 137, json!(9))] {
        let training = Training::new(script);
        assert_eq!(training.world.foreground().code, code, "{script}");
        let exit = training.record("exit.json");
        assert_eq!((&exit["code"], exit.get("signal").unwrap_or(&Value::Null)), (&json!(code), &signal));
        assert!(training.log().contains("nothing was committed: exit.json does not say 0"), "{}", training.log());
        assert!(training.log().contains(&*training.staging().to_string_lossy()), "where it is kept is told");
    }
}

#[test]
fn root_a_trainer_killed_for_memory_is_recorded_so() {
    if !can_run() {
        return;
    }
    let training = Training::new("dd if=/dev/zero of=/dev/null bs=900M count=1; exit $?");
    assert_ne!(training.world.foreground().code, 0);
    assert_eq!(training.record("exit.json")["oom"], true);
}

#[test]
fn root_an_unknown_end_is_not_made_up() {
    if !can_run() {
        return;
    }
    let training = Training::new("touch /hone/out/ready; sleep 1000");
    training.world.up();
    wait_until("the trainer", || training.staging().join("out/ready").exists());
    training.world.run(&["kill", training.world.id(), "KILL"]).ok();
    training.world.wait_for("stopped");
    training.world.run(&["delete", training.world.id()]).ok();
    assert!(!training.staging().join("exit.json").exists());
    assert!(training.log().contains("nothing was committed"), "{}", training.log());
}

#[test]
fn root_signals_reach_the_trainer_and_orphans_are_reaped() {
    if !can_run() {
        return;
    }
    let training =
        Training::new("trap 'exit 143' TERM; (sleep 0.1 &); touch /hone/out/ready; while :; do sleep 0.05; done");
    training.world.up();
    wait_until("the trainer", || training.staging().join("out/ready").exists());
    wait_until("orphans to be reaped", || {
        let script = "for p in /proc/[0-9]*; do cat $p/stat 2>/dev/null; done | grep -c ' Z '";
        training.world.exec(&["sh", "-c", script]).out.trim() == "0"
    });
    training.world.run(&["kill", training.world.id(), "TERM"]).ok();
    training.world.wait_for("stopped");
    training.world.run(&["delete", training.world.id()]).ok();
    assert_eq!(training.record("exit.json")["code"], 143);
}

#[test]
fn root_the_tighter_limit_holds() {
    if !can_run() {
        return;
    }
    let training = Training::new("true");
    training.configure(|config| config["linux"]["resources"] = json!({"memory": {"limit": 32 << 20}}));
    training.world.create().ok();
    let stats: Value =
        serde_json::from_str(&training.world.run(&["events", "--stats", training.world.id()]).ok()).expect("json");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 32 << 20, "the caller's is tighter");
    assert_eq!(stats["data"]["pids"]["limit"], 40, "the job's is the only one");
}

#[test]
fn root_another_command_runs_as_in_any_container() {
    if !can_run() {
        return;
    }
    let training = Training::new("exit 9");
    training.configure(|config| {
        config["process"]["args"] = json!(["sh", "-c", "touch /tmp/x && readlink /proc/self/exe && echo $$"]);
        config["process"]["user"] = json!({"uid": 0, "gid": 0});
    });
    assert_eq!(training.world.foreground().ok(), "/bin/busybox\n1\n");
    assert!(!training.hone_root.exists());
}

#[test]
fn root_what_a_training_container_cannot_have_is_refused_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    for at in ["/hone/out", "/hone", "/link/out"] {
        let training = Training::new("true");
        symlink("hone", training.world.rootfs().join("link")).expect("symlink");
        training.configure(|config| {
            let mount = json!({"destination": at, "type": "tmpfs", "source": "tmpfs"});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
        });
        let err = training.world.foreground().fails(1);
        assert!(err.contains("belong to the runtime; mount your data at /data"), "{at}: {err}");
        assert!(!training.hone_root.exists(), "{at}");
    }
}

#[test]
fn root_a_job_that_is_none_is_refused() {
    if !can_run() {
        return;
    }
    let training = Training::new("true");
    let path = training.world.rootfs().join("hone/job.json");
    let refused = |why: &str| {
        let err = training.world.foreground().fails(1);
        assert!(err.contains(why), "{err}");
    };
    fs::write(&path, "{\"contract\":2}").expect("write");
    refused("contract 2, this program knows 1");
    training.job(|job| job["requires"] = json!(["later"]));
    refused("it requires \"later\", not known to this program: update hone");
    fs::write(&path, "not json").expect("write");
    refused("read /hone/job.json of the image");
    fs::File::create(&path).and_then(|file| file.set_len(5 << 20)).expect("write");
    refused("want at most 4194304");
    fs::remove_file(&path).expect("remove");
    Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    refused("not a regular file");
    fs::remove_file(&path).expect("remove");
    symlink("/etc/shadow", &path).expect("symlink");
    training.world.foreground().ok();
}

#[test]
fn root_keys_that_are_not_known_are_recorded_and_told_in_the_log() {
    if !can_run() {
        return;
    }
    let training = Training::new("true");
    training.job(|job| job["later"] = json!({"deep": [1]}));
    training.world.foreground().ok();
    assert_eq!(training.record("run.json")["job"]["later"], json!({"deep": [1]}));
    assert!(training.log().contains("not known to this program: kept, and not followed"), "{}", training.log());
}

#[test]
fn root_a_link_at_hone_leads_nowhere_outside() {
    if !can_run() {
        return;
    }
    let training = Training::new("echo mine > /hone/out/file");
    let rootfs = training.world.rootfs();
    fs::create_dir_all(rootfs.join("elsewhere")).expect("mkdir");
    fs::rename(rootfs.join("hone"), rootfs.join("elsewhere/hone")).expect("rename");
    symlink("/elsewhere/hone", rootfs.join("hone")).expect("symlink");
    training.world.foreground().ok();
    assert_eq!(fs::read_to_string(training.staging().join("out/file")).expect("read"), "mine\n");
    assert!(!Path::new("/elsewhere").exists());
}

#[test]
fn root_the_same_staging_id_finds_the_checkpoint_again() {
    if !can_run() {
        return;
    }
    let script = "mkdir -p /hone/out/checkpoint /hone/out/adapter; cat /hone/out/checkpoint/step; \
                  echo 7 > /hone/out/checkpoint/step; echo a > /hone/out/adapter/left; exit 3";
    let training = Training::with_options(script, &["--hone-staging", "run-1"]);
    assert_eq!(training.world.foreground().code, 3);
    training.script("[ -e /hone/out/adapter ] && exit 9; cat /hone/out/checkpoint/step");
    assert_eq!(training.world.foreground().ok(), "7\n");
    let staging = training.hone_root.join("staging/run-1");
    assert!(fs::read_to_string(staging.join("exit.json")).expect("exit").contains("\"code\": 0"));
}
