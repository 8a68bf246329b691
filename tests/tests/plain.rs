//! A plain image runs under `hone` as under runc: same output, same exit codes.
//!
//! Each case is a script in which $E stands for the engine and $R for the runtime. It runs with runc and with hone, and what it prints must
//! be the same. That runc's own runs are checked too keeps the cases honest.

use hone_tests::{World, docker, needs, podman};

/// Name, script, and a part of what runc must print.
type Case = (&'static str, &'static str, &'static str);

/// What both engines do alike.
const CASES: &[Case] = &[
    ("output", "$E run --rm --runtime $R bb echo hello", "hello"),
    ("exit code", "$E run --rm --runtime $R bb sh -c 'exit 7'", "code 7"),
    ("no such command", "$E run --rm --runtime $R bb nothing 2>/dev/null", "code 127"),
    ("not executable", "$E run --rm --runtime $R bb /etc/passwd 2>/dev/null", "code 126"),
    ("standard input", "echo from here | $E run --rm -i --runtime $R bb cat", "from here"),
    ("standard error", "$E run --rm --runtime $R bb sh -c 'echo out; echo err >&2' 2>&1 | sort", "err"),
    ("output to nowhere", "$E run --rm --runtime $R bb sh -c 'echo x >/dev/null && echo written'", "written"),
    ("output is closed", "$E run --rm --runtime $R bb sh -c 'yes | head -n 1'", "y"),
    ("terminal", "sleep 2 | script -qec \"$E run --rm -it --runtime $R bb sh -c 'test -t 0 && test -t 1 && tty'\" /dev/null", "/dev/"),
    (
        "terminal size",
        "sleep 2 | script -qec \"stty rows 31 cols 87; $E run --rm -it --runtime $R bb sh -c 'sleep 0.5; stty size'\" /dev/null",
        "31 87",
    ),
    ("environment", "$E run --rm -e A=b -w /tmp --runtime $R bb sh -c 'echo $A $PWD $HOME $PATH'", "b /tmp /root"),
    ("host name", "$E run --rm --hostname edge --runtime $R bb hostname", "edge"),
    ("user", "$E run --rm --user 1000:44 --runtime $R bb id", "uid=1000(alice) gid=44(video)"),
    ("user by name", "$E run --rm --user alice --runtime $R bb id", "uid=1000(alice)"),
    ("read-only root", "$E run --rm --read-only --runtime $R bb touch /file 2>&1", "Read-only file system"),
    (
        "volume",
        "mkdir -p vol; echo data >vol/f; $E run --rm -v $PWD/vol:/v:ro --runtime $R bb sh -c 'cat /v/f; touch /v/g'",
        "data",
    ),
    ("tmpfs", "$E run --rm --tmpfs /t:size=1m --runtime $R bb sh -c 'df -k /t | tail -n 1 | tr -s \" \"'", "1024"),
    (
        "memory",
        "$E run --rm --memory 64m --runtime $R bb sh -c \"cat $CG/memory/memory.limit_in_bytes $CG/memory.max\" 2>/dev/null",
        "67108864",
    ),
    (
        "out of memory",
        "$E run --name oom --memory 24m --memory-swap 24m --shm-size 200m --runtime $R bb \\
            dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null; echo $?
         $E inspect -f '{{.State.ExitCode}}' oom; $E rm oom",
        "137",
    ),
    (
        "cpus",
        "$E run --rm --cpus 0.5 --runtime $R bb sh -c \"cat $CG/cpu/cpu.cfs_quota_us $CG/cpu.max\" 2>/dev/null",
        "50000",
    ),
    (
        "pids limit",
        "$E run --rm --pids-limit 9 --runtime $R bb sh -c \"cat $CG/pids/pids.max $CG/pids.max\" 2>/dev/null",
        "9",
    ),
    (
        "too many pids",
        "$E run --rm --pids-limit 5 --runtime $R bb sh -c 'for i in 1 2 3 4 5 6 7; do sleep 1 & done; wait' 2>&1 | grep -c fork",
        "1",
    ),
    ("capabilities", "$E run --rm --cap-drop ALL --cap-add CHOWN --runtime $R bb grep Cap /proc/self/status", "0000001"),
    ("default security", "$E run --rm --runtime $R bb grep -E 'Cap|NoNew|Seccomp:' /proc/self/status", "Seccomp:\t2"),
    (
        "no new privileges",
        "$E run --rm --security-opt no-new-privileges --runtime $R bb grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1",
    ),
    (
        "limits",
        "$E run --rm --ulimit nofile=100:200 --ulimit nproc=1000:1000 --runtime $R bb sh -c 'ulimit -n; ulimit -Hn'",
        "200",
    ),
    ("oom score", "$E run --rm --oom-score-adj 300 --runtime $R bb cat /proc/self/oom_score_adj", "300"),
    ("devices", "$E run --rm --runtime $R bb sh -c 'ls -l /dev | tr -s \" \" | cut -d\" \" -f1,3-6,10-; wc -c </dev/null'", "null"),
    (
        "masked paths",
        "$E run --rm --runtime $R bb sh -c 'wc -c </proc/keys; ls /sys/firmware | wc -l; echo 1 >/proc/sys/vm/swappiness' 2>&1 | sort",
        "0",
    ),
    ("first process", "$E run --rm --runtime $R bb sh -c 'cat /proc/1/comm; set -- /proc/[0-9]*; echo $#'", "sh\n1\n"),
    ("no network", "$E run --rm --network none --runtime $R bb ls /sys/class/net", "lo"),
    ("host network", "$E run --rm --network host --runtime $R bb readlink /proc/self/ns/net", "net:["),
    ("host processes", "$E run --rm --pid host --runtime $R bb readlink /proc/self/ns/pid", "pid:["),
    ("own network", "$E run --rm --runtime $R bb sh -c 'ip -4 addr show eth0 | grep -c inet'", "1"),
    (
        "detached, logs, exec, stop",
        "$E run -d --name box --runtime $R bb sh -c 'trap \"echo bye; exit 3\" TERM; echo up; while :; do sleep 0.1; done' >id
         sleep 0.5; $E exec box echo inside; $E exec box sh -c 'exit 4'; echo $?
         $E exec -u 1000 -w /tmp -e K=v box sh -c 'id -u; pwd; echo $K'
         $E exec box grep -E 'Seccomp:|Cap|NoNew' /proc/self/status; $E exec box sh -c 'ulimit -n'
         $E exec box nothing 2>/dev/null; echo $?; $E stop box
         $E inspect -f '{{.State.ExitCode}} {{.State.Status}}' box; $E logs box; $E rm box",
        "bye",
    ),
    (
        "exec with a terminal",
        "$E run -d --name box --runtime $R bb sh -c \"$LOOP\" >id
         sleep 2 | script -qec '$E exec -it box tty' /dev/null; echo in | $E exec -i box cat; $E stop box; $E rm box",
        "/dev/pts/",
    ),
    (
        "kill",
        "$E run -d --name box --runtime $R bb sleep 100 >id; $E kill --signal KILL box; $E wait box; $E rm box",
        "137",
    ),
    (
        "kill with a signal that is caught",
        "$E run -d --name box --runtime $R bb sh -c 'trap \"echo caught\" USR1; while :; do sleep 0.1; done' >id
         sleep 0.5; $E kill -s USR1 box; sleep 0.5; $E logs box; $E kill box; $E wait box; $E rm box",
        "caught",
    ),
    (
        "stop of one that does not listen",
        "$E run -d --name box --runtime $R bb sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' >id
         sleep 0.3; $E stop -t 1 box 2>/dev/null; $E inspect -f '{{.State.ExitCode}}' box; $E rm box",
        "137",
    ),
    (
        "pause",
        "$E run -d --name box --runtime $R bb sh -c \"$LOOP\" >id; $E pause box >/dev/null
         $E inspect -f '{{.State.Status}}' box; $E unpause box >/dev/null; $E inspect -f '{{.State.Status}}' box
         $E exec box echo alive; $E stop box; $E rm box",
        "alive",
    ),
    (
        "create, start, start again",
        "$E create --name box --runtime $R bb sh -c 'echo once more; exit 2' >id
         $E start -a box; echo $?; $E start -a box; echo $?; $E rm box",
        "once more",
    ),
    (
        "processes",
        "$E run -d --name box --runtime $R bb sh -c \"$LOOP\" >id; $E top box | grep -c 'while :'; $E stop box; $E rm box",
        "1",
    ),
];

/// Runs a case under one runtime, and gives what it printed and how it ended.
fn outcome(world: &World, engine: &str, script: &str, runtime: &str) -> String {
    let given = format!("export E={engine} R={runtime} CG=/sys/fs/cgroup");
    let ran = world.sh(&format!("{given} LOOP='trap exit TERM; while :; do sleep 0.1; done'\n{script}"));
    // script(1) echoes the end of its own input.
    format!("{}{}code {}", ran.stdout.replace("^@", ""), ran.stderr, ran.code)
}

fn compare(world: &World, engine: &str) {
    let only = std::env::var("CASE").ok();
    let mut wrong = Vec::new();
    for (name, script, want) in CASES.iter().filter(|(name, ..)| only.as_deref().is_none_or(|o| name.contains(o))) {
        let runc = outcome(world, engine, script, "runc");
        let hone = outcome(world, engine, script, "hone");
        if !runc.contains(want) {
            wrong.push(format!("{name}: the case itself: want {want:?} under runc, got\n{runc}"));
        } else if runc != hone {
            wrong.push(format!("{name}: under runc\n{runc}\nunder hone\n{hone}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

#[test]
fn docker_plain_images_run_as_under_runc() {
    if !needs(&["dockerd", "containerd", "runc", "script"]) {
        return;
    }
    let world = docker();
    world.sh("hone install docker && kill -HUP $(cat /run/docker.pid)").ok();
    world.wait_for(10, "docker info | grep -w hone");
    compare(&world, "docker");
}

#[test]
fn podman_plain_images_run_as_under_runc() {
    if !needs(&["podman", "runc", "conmon", "script"]) {
        return;
    }
    let world = podman();
    world.sh("hone install podman").ok();
    compare(&world, "podman");
}
