//! The device filter of cgroup v2, in the kernel: also on a hybrid host, whose unified hierarchy takes filters, too.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use hone_cgroups::{Hierarchies, devices};
use oci_spec::runtime::LinuxDeviceCgroup;

/// A cgroup that goes with the test.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel keeps it until its last process is reaped; another run uses another name.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The unified hierarchy's mount, for a test that needs root.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
fn unified() -> Option<PathBuf> {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let found = Hierarchies::detect().ok().and_then(|h| h.unified().map(|h| h.mount.clone())).filter(|_| root);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "needs root and cgroup v2, and in CI nothing is skipped");
        eprintln!("skipped: needs root and cgroup v2");
    }
    found
}

#[test]
fn root_the_kernel_takes_the_filter_and_enforces_it() {
    let Some(mount) = unified() else { return };
    let group = Group(mount.join(format!("hone-filter-{}", std::process::id())));
    fs::create_dir(&group.0).expect("create cgroup");
    let dir = fs::File::open(&group.0).expect("open cgroup");
    let nodes = tempfile::tempdir().expect("tempdir");
    let node = |minor: u32| {
        let path = nodes.path().join(minor.to_string());
        let made = Command::new("mknod").arg(&path).args(["c", "1", &minor.to_string()]).status().expect("mknod");
        assert!(made.success());
        path.display().to_string()
    };
    let (allowed, denied) = (node(77), node(78));
    let given: Vec<LinuxDeviceCgroup> =
        serde_json::from_str(r#"[{"allow":true,"type":"c","major":1,"minor":77,"access":"r"}]"#).expect("rules");
    let program = devices::v2_program(&devices::complete(&given));
    hone_sys::attach_device_filter(dir.as_fd(), &program).expect("attach");
    // No driver has these numbers: who may open them learns that, who may not learns nothing.
    let told = |command: &str| {
        let script = format!("echo $$ > {}/cgroup.procs; {command}", group.0.display());
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(told(&format!("cat {allowed}")).contains("No such device"));
    assert!(told(&format!("cat {denied}")).contains("Operation not permitted"));
    assert!(told(&format!("echo > {allowed}")).contains("Operation not permitted"));
    assert_eq!(told("cat /dev/null; echo > /dev/null"), "");
    assert_eq!(hone_sys::detach_device_filters(dir.as_fd()).expect("detach"), 1);
    assert!(told(&format!("cat {denied}")).contains("No such device"));
}
