//! A container's life through the command line: each test passes with runc, too.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Ran, World, can_run, runtimes, wait_until};
use serde_json::json;

/// Runs `test` with a new world for each runtime.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
fn each(test: impl Fn(&World)) {
    if can_run() {
        for runtime in runtimes() {
            eprintln!("with {runtime}");
            test(&World::new(runtime));
        }
    }
}

#[test]
fn root_a_container_is_created_started_killed_and_deleted() {
    each(|world| {
        world.create().ok();
        let created = world.state();
        assert_eq!(created["status"], "created");
        assert_eq!(created["bundle"], world.bundle().to_string_lossy().as_ref());
        assert!(created["pid"].as_i64().expect("pid") > 0);
        let again = world.create().fails(1);
        assert!(again.contains("container with given ID already exists"), "{again}");
        world.run(&["start", world.id()]).ok();
        assert_eq!(world.state()["status"], "running");
        let twice = world.run(&["start", world.id()]).fails(1);
        assert!(twice.contains("cannot start an already running container"), "{twice}");
        let refused = world.run(&["delete", world.id()]).fails(1);
        assert!(refused.contains("that is not stopped: running"), "{refused}");
        world.run(&["kill", world.id(), "KILL"]).ok();
        world.wait_for("stopped");
        assert_eq!(world.state()["pid"], 0);
        let late = world.run(&["kill", world.id(), "TERM"]).fails(1);
        assert!(late.contains("container not running"), "{late}");
        world.run(&["delete", world.id()]).ok();
        let gone = world.run(&["state", world.id()]).fails(1);
        assert!(gone.contains("container does not exist"), "{gone}");
    });
}

#[test]
fn root_what_is_not_there_is_told_as_runc_tells_it() {
    each(|world| {
        for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps", "events"] {
            let err = world.run(&[verb, "nonesuch"]).fails(1);
            assert!(err.contains("container does not exist"), "{verb}: {err}");
        }
        world.run(&["delete", "-f", "nonesuch"]).ok();
        assert!(world.run(&["state", "a/b"]).fails(1).contains("invalid container ID format"));
        world.exec(&["true"]).fails(255);
    });
}

#[test]
fn root_run_ends_with_the_containers_exit_code() {
    each(|world| {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137)] {
            assert_eq!(world.script(script).foreground().code, code, "{script}");
        }
        assert_eq!(world.script("echo out; echo err >&2").foreground().ok(), "out\n");
        world.run(&["state", world.id()]).fails(1);
    });
}

#[test]
fn root_a_program_that_cannot_run_is_told_in_words_that_engines_know() {
    each(|world| {
        let told = [
            ("nonesuch", "exec: \"nonesuch\": executable file not found in $PATH"),
            ("/nonesuch", "exec: \"/nonesuch\": stat /nonesuch: no such file or directory"),
            ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
            ("bad", "exec /bin/bad: exec format error"),
        ];
        for (program, text) in told {
            let err = world.command(&[program]).foreground().fails(1);
            assert!(err.contains(text), "{program}: {err}");
        }
    });
}

#[test]
fn root_a_container_that_ends_at_once_is_never_waited_for_in_vain() {
    each(|world| {
        world.command(&["true"]);
        for _ in 0..15 {
            world.foreground().ok();
        }
    });
}

#[test]
fn root_a_signal_to_run_reaches_the_container() {
    each(|world| {
        world.script("trap 'exit 9' TERM; touch /tmp/ready; while :; do sleep 0.05; done");
        let mut command = world.invoke();
        command.arg("run").arg("--bundle").arg(world.bundle()).arg(world.id());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
        wait_until("the trap", || world.rootfs().join("tmp/ready").exists());
        Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        let output = child.wait_with_output().expect("wait");
        assert_eq!(Ran::of(output).code, 9);
    });
}

#[test]
fn root_standard_output_may_be_dev_null() {
    each(|world| {
        world.script("echo lost && echo kept >&2");
        let mut command = world.invoke();
        command.arg("run").arg("--bundle").arg(world.bundle()).arg(world.id()).stdout(Stdio::null());
        let ran = Ran::of(command.output().expect("start"));
        assert_eq!((ran.code, ran.err.as_str()), (0, "kept\n"));
    });
}

#[test]
fn root_exec_runs_beside_the_first_process() {
    each(|world| {
        world.up();
        assert_eq!(world.exec(&["echo", "-n", "in"]).ok(), "in");
        assert_eq!(world.exec(&["sh", "-c", "exit 4"]).code, 4);
        assert_eq!(world.exec(&["sh", "-c", "kill -9 $$"]).code, 137);
        let id = world.run(&["exec", "-u", "1000:7", "-g", "8", world.id(), "id"]).ok();
        assert_eq!(id, "uid=1000(me) gid=7 groups=8\n");
        let env = world.run(&["exec", "-e", "SECOND=2", world.id(), "env"]).ok();
        assert_eq!(env, "PATH=/bin\nFIRST=1\nSECOND=2\nHOME=/root\n");
        assert_eq!(world.run(&["exec", "--cwd", "/etc", world.id(), "pwd"]).ok(), "/etc\n");
        let err = world.exec(&["nonesuch"]).fails(255);
        assert!(err.contains("exec failed: unable to start container process: exec: \"nonesuch\""), "{err}");
        let err = world.run(&["exec", "--cwd", "/nope", world.id(), "true"]).fails(255);
        assert!(err.contains("chdir to cwd (\"/nope\") set in config.json failed: no such file"), "{err}");
    });
}

#[test]
fn root_exec_is_held_by_the_same_filter_limits_and_capabilities() {
    each(|world| {
        world.configure(|config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 77, "soft": 77}]);
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
            });
        });
        world.up();
        let err = world.exec(&["mkdir", "/tmp/x"]).fails(1);
        assert!(err.contains("Function not implemented"), "{err}");
        assert_eq!(world.exec(&["sh", "-c", "ulimit -n; ulimit -Hn"]).ok(), "77\n77\n");
        let status = |pid: &str| {
            let file = format!("/proc/{pid}/status");
            world.exec(&["grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", &file]).ok()
        };
        assert_eq!(status("1"), status("self"));
    });
}

#[test]
fn root_exec_enters_the_containers_user_namespace() {
    each(|world| {
        world.configure(|config| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            config["linux"]["namespaces"].as_array_mut().expect("list").push(json!({"type": "user"}));
        });
        for path in [world.dir.path().to_owned(), world.bundle()] {
            Command::new("chmod").arg("755").arg(path).status().expect("chmod");
        }
        world.up();
        let map = world.exec(&["cat", "/proc/self/uid_map"]).ok();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    });
}

#[test]
fn root_a_paused_container_waits_and_can_be_killed() {
    each(|world| {
        world.up();
        world.run(&["pause", world.id()]).ok();
        assert_eq!(world.state()["status"], "paused");
        assert!(world.exec(&["true"]).fails(255).contains("cannot exec in a paused container"));
        world.run(&["kill", world.id(), "USR1"]).ok();
        assert_eq!(world.state()["status"], "paused", "a signal does not thaw it");
        world.run(&["resume", world.id()]).ok();
        assert!(world.run(&["resume", world.id()]).fails(1).contains("container not paused"));
        assert_eq!(world.state()["status"], "running");
        world.run(&["pause", world.id()]).ok();
        world.run(&["kill", world.id(), "KILL"]).ok();
        world.wait_for("stopped");
        world.run(&["delete", world.id()]).ok();
    });
}

/// Where `file` of the container's cgroup is, whichever version has the controller.
fn cgroup_file(world: &World, v1: (&str, &str), v2: &str) -> String {
    let path = format!("hone-tests/{}", world.id());
    let old = format!("/sys/fs/cgroup/{}/{path}/{}", v1.0, v1.1);
    let new = format!("/sys/fs/cgroup/{path}/{v2}");
    fs::read_to_string(&old).or_else(|_| fs::read_to_string(&new)).expect("cgroup file").trim().to_owned()
}

#[test]
fn root_limits_are_set_and_changed() {
    each(|world| {
        world.configure(|config| {
            config["linux"]["resources"] = json!({
                "memory": {"limit": 64 << 20}, "pids": {"limit": 33},
                "cpu": {"quota": 20000, "period": 100_000, "shares": 512}
            });
        });
        world.up();
        assert_eq!(cgroup_file(world, ("memory", "memory.limit_in_bytes"), "memory.max"), (64 << 20).to_string());
        assert_eq!(cgroup_file(world, ("pids", "pids.max"), "pids.max"), "33");
        let quota = cgroup_file(world, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
        assert!(quota == "20000" || quota == "20000 100000", "{quota}");
        world.run(&["update", "--memory", "48M", "--pids-limit", "44", "--cpu-quota", "30000", world.id()]).ok();
        assert_eq!(cgroup_file(world, ("memory", "memory.limit_in_bytes"), "memory.max"), (48 << 20).to_string());
        assert_eq!(cgroup_file(world, ("pids", "pids.max"), "pids.max"), "44");
        let stats = world.run(&["events", "--stats", world.id()]).ok();
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("json");
        assert_eq!(stats["data"]["memory"]["usage"]["limit"], 48 << 20);
        assert_eq!(stats["data"]["pids"]["limit"], 44);
    });
}

#[test]
fn root_cgroups_that_the_payload_made_go_with_the_container() {
    each(|world| {
        world.configure(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.last_mut().expect("cgroup")["options"] = json!(["rw"]);
            let script = "mkdir -p /sys/fs/cgroup/*/inner/most 2>/dev/null; touch /tmp/made; exec sleep 1000";
            config["process"]["args"] = json!(["sh", "-c", script]);
        });
        world.up();
        wait_until("the inner cgroups", || world.rootfs().join("tmp/made").exists());
        world.run(&["delete", "-f", world.id()]).ok();
        let left = Command::new("find").args(["/sys/fs/cgroup", "-name", world.id()]).output().expect("find");
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    });
}

#[test]
fn root_exec_follows_the_payload_into_its_inner_cgroup() {
    each(|world| {
        world.configure(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.last_mut().expect("cgroup")["options"] = json!(["rw"]);
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.push(json!({"type": "cgroup"}));
            // Nothing of this is there on v1, where processes may stay.
            let script = "cd /sys/fs/cgroup; mkdir inner; echo 1 > inner/cgroup.procs; \
                for c in $(cat cgroup.controllers); do echo +$c > cgroup.subtree_control; done; \
                touch /tmp/moved; exec sleep 1000";
            config["process"]["args"] = json!(["sh", "-c", script]);
        });
        world.up();
        wait_until("the move", || world.rootfs().join("tmp/moved").exists());
        assert_eq!(world.exec(&["echo", "in"]).ok(), "in\n");
    });
}

#[test]
fn root_the_containers_own_limits_are_not_its_to_change() {
    each(|world| {
        world.configure(|config| config["linux"]["resources"] = json!({"pids": {"limit": 20}}));
        world.up();
        let script = "for f in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do echo max > $f; done";
        world.exec(&["sh", "-c", script]);
        assert_eq!(cgroup_file(world, ("pids", "pids.max"), "pids.max"), "20");
    });
}

#[test]
fn root_only_devices_that_were_allowed_can_be_opened() {
    each(|world| {
        world.configure(|config| {
            config["linux"]["resources"] = json!({"devices": [
                {"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 77, "access": "r"}
            ]});
        });
        world.up();
        // No driver has these numbers: who may open them learns that, who may not learns nothing.
        world.exec(&["sh", "-c", "mknod /dev/a c 1 77 && mknod /dev/b c 1 78"]).ok();
        let opened = |script: &str| world.exec(&["sh", "-c", script]).fails(1);
        assert!(opened("cat /dev/a").contains("No such device"), "allowed for reading");
        assert!(opened("cat /dev/b").contains("Operation not permitted"), "not allowed");
        assert!(opened("echo > /dev/a").contains("Operation not permitted"), "not allowed for writing");
        world.exec(&["sh", "-c", "echo > /dev/null && cat /dev/null && dd if=/dev/zero of=/dev/full count=0"]).ok();
    });
}

#[test]
fn root_hooks_get_the_callers_bundle_and_the_process() {
    each(|world| {
        let file = |name: &str| world.dir.path().join(name).to_string_lossy().into_owned();
        let save = |name: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", file(name))]});
        world.configure(|config| {
            config["hooks"] = json!({
                "prestart": [save("prestart")], "createRuntime": [save("createRuntime")],
                "poststart": [save("poststart")], "poststop": [save("poststop")]
            });
        });
        world.up();
        let pid = world.state()["pid"].clone();
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_str(&fs::read_to_string(file(name)).expect("hook ran")).expect("state is JSON")
        };
        for name in ["prestart", "createRuntime", "poststart"] {
            let state = read(name);
            assert_eq!(state["pid"], pid, "{name}");
            assert_eq!(state["id"], world.id(), "{name}");
            assert_eq!(state["bundle"], world.bundle().to_string_lossy().as_ref(), "{name}");
        }
        world.run(&["delete", "-f", world.id()]).ok();
        assert_eq!(read("poststop")["status"], "stopped");
    });
}

#[test]
fn root_a_failing_hook_fails_create_and_leaves_nothing() {
    each(|world| {
        world.configure(|config| {
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no way >&2; exit 7"]});
            config["hooks"] = json!({"prestart": [hook]});
        });
        let err = world.create().fails(1);
        assert!(err.contains("exit status 7") && err.contains("no way"), "{err}");
        world.run(&["state", world.id()]).fails(1);
        let left = Command::new("find").args(["/sys/fs/cgroup", "-name", world.id()]).output().expect("find");
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    });
}

#[test]
fn root_the_root_may_be_read_only_and_a_tmpfs_keeps_modes() {
    each(|world| {
        fs::set_permissions(world.rootfs().join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
            .expect("chmod");
        world.configure(|config| {
            config["root"]["readonly"] = json!(true);
            let tmp = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]});
            config["mounts"].as_array_mut().expect("mounts").push(tmp);
            let script = "touch /x 2>/dev/null && exit 1; touch /tmp/x && stat -c %a /tmp";
            config["process"]["args"] = json!(["sh", "-c", script]);
        });
        assert_eq!(world.foreground().ok(), "1777\n");
    });
}

#[test]
fn root_pipes_belong_to_the_containers_user() {
    each(|world| {
        world.configure(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "umask": 63});
            let script = "echo out > /dev/stdout; echo err > /dev/stderr; umask; pwd";
            config["process"]["args"] = json!(["sh", "-c", script]);
            config["process"]["cwd"] = json!("/home/made");
        });
        let ran = world.foreground();
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "out\n0077\n/home/made\n", "err\n"));
    });
}

#[test]
fn root_no_directory_of_the_host_is_entered_through_a_descriptor() {
    each(|world| {
        for number in 3..12 {
            world.configure(|config| {
                config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
                config["process"]["args"] =
                    json!(["sh", "-c", "ls ../../../../../../.. | grep -v -x -f /list; exit 0"]);
            });
            let inside = "bin\ndata\ndev\netc\nlist\nproc\nsys\ntmp\n";
            fs::write(world.rootfs().join("list"), inside).expect("write");
            let ran = world.foreground();
            assert_eq!(ran.out, "", "{number}: {ran:?}");
        }
    });
}

#[test]
fn root_ps_and_list_know_the_container() {
    each(|world| {
        world.up();
        let pids: Vec<i64> =
            serde_json::from_str(&world.run(&["ps", "--format", "json", world.id()]).ok()).expect("json");
        assert_eq!(pids, [world.state()["pid"].as_i64().expect("pid")]);
        assert!(world.run(&["ps", world.id()]).ok().contains("sleep 1000"));
        assert_eq!(world.run(&["list", "-q"]).ok(), format!("{}\n", world.id()));
        let list: serde_json::Value = serde_json::from_str(&world.run(&["list", "-f", "json"]).ok()).expect("json");
        assert_eq!(list[0]["status"], "running");
    });
}

#[test]
fn root_a_new_network_namespace_has_a_loopback_that_works() {
    each(|world| {
        assert!(world.command(&["ip", "addr"]).foreground().ok().contains("127.0.0.1/8"));
    });
}

#[test]
fn root_a_reused_process_id_is_neither_shown_nor_signalled() {
    if !can_run() {
        return;
    }
    let world = World::new(common::HONE);
    world.up();
    let path = world.root().join(world.id()).join("state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("json");
    let mut innocent = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let real = record["init"].clone();
    record["init"]["pid"] = json!(innocent.id());
    fs::write(&path, record.to_string()).expect("write");
    assert_eq!(world.state()["status"], "stopped");
    world.run(&["kill", world.id(), "KILL"]).fails(1);
    std::thread::sleep(Duration::from_millis(50));
    assert!(innocent.try_wait().expect("wait").is_none(), "it lives");
    innocent.kill().and_then(|()| innocent.wait()).expect("end");
    record["init"] = real;
    fs::write(&path, record.to_string()).expect("write");
}
