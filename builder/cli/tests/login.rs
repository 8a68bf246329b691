//! `hone login` and `hone logout`: tried first, kept where docker keeps it, and used by the verbs that follow.

#![allow(missing_docs)]

mod common;
#[path = "../../registry/tests/common/tls.rs"]
mod tls;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use common::Site;
use common::registry::Registry;

/// hone:pw.
const BASIC: &str = "Basic aG9uZTpwdw==";

fn site() -> (Site, Registry) {
    let (mut site, registry) = (Site::new(), Registry::start());
    site.env("DOCKER_CONFIG", site.path("docker").display().to_string());
    registry.state().basic = Some(BASIC.to_owned());
    (site, registry)
}

fn fed(site: &Site, args: &[&str], stdin: &str) -> Output {
    let mut command = site.command(args);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("hone");
    // One that refuses its command line reads nothing.
    let _ = child.stdin.take().expect("stdin").write_all(stdin.as_bytes());
    child.wait_with_output().expect("hone")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_login_is_used_by_every_verb_until_the_logout() {
    let (mut site, registry) = site();
    site.llama_image();
    let name = format!("{}/a/b:base", registry.host);
    let refused = site.fails(&["push", "assistant:base", &name]);
    assert!(refused.contains(&format!("`hone login {}`", registry.host)), "{refused}");
    let output = fed(&site, &["login", "-u", "hone", "--password-stdin", &registry.host], "pw\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"Login Succeeded\n");
    let file = site.path("docker/config.json");
    assert!(
        said(&output).contains("unencrypted") && said(&output).contains(&file.display().to_string()),
        "{output:?}"
    );
    assert_eq!(fs::metadata(&file).expect("file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(site.ok(&["login", "--get-login", &registry.host]), "hone\n");
    site.ok(&["push", "-q", "assistant:base", &name]);
    // As docker: what is kept is tried before anybody is asked.
    assert_eq!(site.ok(&["login", &registry.host]), "Login Succeeded\n");
    let out = format!("Removing login credentials for {} from {}\n", registry.host, file.display());
    assert_eq!(site.ok(&["logout", &format!("http://{}/", registry.host)]), out);
    assert_eq!(site.ok(&["logout", &registry.host]), format!("Not logged in to {}\n", registry.host));
    assert!(site.fails(&["login", "--get-login", &registry.host]).contains("not logged in to"));
    site.fails(&["pull", &name]);
}

#[test]
fn wrong_credentials_change_nothing() {
    let (site, registry) = site();
    let output = site.command(&["login", "-u", "hone", "-p", "wrong", &registry.host]).output().expect("hone");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = said(&output);
    assert!(text.contains("--password-stdin") && text.contains("check the user and the password"), "{text}");
    assert!(!site.path("docker").exists());
    // Nobody is asked where nobody sits, and a pipe alone is no answer.
    let output = fed(&site, &["login", &registry.host], "hone\npw\n");
    assert!(output.status.code() == Some(1) && said(&output).contains("--password-stdin"), "{output:?}");
    for args in [&["login", "--password-stdin"][..], &["login", "-p", "pw"], &["logout", "--all", "r.example"]] {
        assert_eq!(site.command(args).output().expect("hone").status.code(), Some(2), "{args:?}");
    }
    assert!(!site.path("docker").exists());
}

#[test]
fn files_are_named_as_podman_names_them_and_all_are_left_at_once() {
    let (mut site, registry) = site();
    let own = site.path("own.json").display().to_string();
    let login = |site: &Site, more: &[&str]| {
        let args = [&["login", "-u", "hone", "--password-stdin"], more, &[registry.host.as_str()]].concat();
        let output = fed(site, &args, "pw");
        assert!(output.status.success(), "{output:?}");
        said(&output)
    };
    login(&site, &["--authfile", &own]);
    assert!(fs::read_to_string(&own).expect("file").contains(&registry.host) && !site.path("docker").exists());
    site.env("REGISTRY_AUTH_FILE", site.path("podman.json").display().to_string());
    login(&site, &[]);
    let text = fs::read_to_string(site.path("podman.json")).expect("file");
    let more = text.replacen("\"auths\": {", "\"auths\": {\"r.example\": {\"auth\": \"eDp5\"},", 1);
    site.write("podman.json", more);
    let out = site.ok(&["logout", "--all"]);
    assert!(out.contains(&registry.host) && out.contains("r.example") && out.lines().count() == 2, "{out}");
    assert_eq!(site.ok(&["logout", "--all"]), "Not logged in to any registry\n");
    assert!(fs::read_to_string(&own).expect("file").contains(&registry.host));
}

#[test]
fn a_person_is_asked_and_what_is_typed_is_not_shown() {
    let (site, registry) = site();
    let ours = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("pty");
    rustix::pty::grantpt(&ours).expect("grant");
    rustix::pty::unlockpt(&ours).expect("unlock");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("name").into_string().expect("text");
    let theirs = fs::OpenOptions::new().read(true).write(true).open(&name).expect("terminal");
    let mut terminal = fs::File::from(ours);
    let mut command = site.command(&["login", &registry.host]);
    command.stdin(theirs.try_clone().expect("clone")).stderr(theirs.try_clone().expect("clone"));
    let child = command.stdout(Stdio::piped()).spawn().expect("hone");
    let mut shown = String::new();
    let mut until = |words: &str, terminal: &mut fs::File| {
        let mut bytes = [0; 1024];
        while !shown.contains(words) {
            let n = terminal.read(&mut bytes).expect("read");
            shown.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        shown.clone()
    };
    until("Username for", &mut terminal);
    terminal.write_all(b"hone\n").expect("type");
    until("Password: ", &mut terminal);
    terminal.write_all(b"pw\n").expect("type");
    let text = until("unencrypted", &mut terminal);
    let output = child.wait_with_output().expect("hone");
    assert!(output.status.success() && output.stdout == b"Login Succeeded\n", "{output:?} {text}");
    let after = text.split("Password: ").nth(1).expect("after the question");
    assert!(text.contains("hone\r\n") && !after.contains("pw"), "{text:?}");
    let modes = rustix::termios::tcgetattr(&theirs).expect("terminal").local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
}

#[test]
fn a_registry_over_tls_is_believed_by_its_authority_or_by_nobody_s_word() {
    let (mut site, registry) = (Site::new(), Registry::start());
    site.llama_image();
    site.ok(&["push", "-q", "assistant:base", &format!("{}/a/b:base", registry.host)]);
    let door = tls::Door::before(&registry.host, true);
    let name = format!("localhost:{}/a/b:base", door.port);
    let certificates = tls::dir(&["ca.crt", "client.cert", "client.key"]);
    let dir = certificates.path().display().to_string();
    let device = Site::new();
    let refused = device.fails(&["pull", &name]);
    assert!(refused.contains("--cert-dir"), "{refused}");
    device.assert_empty();
    let output = device.command(&["pull", "-q", "--cert-dir", &dir, &name]).output().expect("hone");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(device.ok(&["verify", &name]).contains(": ok ("));
    for flag in ["--tls-verify=false".to_owned(), format!("--insecure-registry=localhost:{}", door.port)] {
        let mine = tls::dir(&["client.cert", "client.key"]);
        let mine = mine.path().display().to_string();
        let output = device.command(&["pull", "-q", &flag, "--cert-dir", &mine, &name]).output().expect("hone");
        assert!(output.status.success(), "{output:?}");
        let want = format!("hone: warning: registry localhost:{}: its certificate is not verified\n", door.port);
        assert_eq!(said(&output), want);
    }
    assert_eq!(device.command(&["pull", "--tls-verify=maybe", &name]).output().expect("hone").status.code(), Some(2));
}
