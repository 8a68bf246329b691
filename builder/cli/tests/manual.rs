//! Completion scripts and manual pages know every verb, `hone run` too.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use common::Site;

/// The verbs that `hone --help` lists.
fn verbs(site: &Site) -> BTreeSet<String> {
    let help = site.ok(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    listed.map(str::to_owned).filter(|verb| verb != "help").chain(["run".to_owned()]).collect()
}

#[test]
fn shells_complete_every_verb() {
    let site = Site::new();
    let verbs = verbs(&site);
    assert!(verbs.contains("build") && verbs.contains("completion") && !verbs.contains("man"), "{verbs:?}");
    for shell in ["zsh", "fish"] {
        let script = site.ok(&["completion", shell]);
        for word in verbs.iter().map(String::as_str).chain(["pids-limit", "append"]) {
            assert!(script.contains(word), "{shell}: {word}: {script}");
        }
    }
    let script = site.write("hone.bash", site.ok(&["completion", "bash"]));
    let complete = |words: &[&str]| {
        let ask = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                   _hone hone \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; \
                   printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash").args(["-c", ask]).arg(&script).args(words).output().expect("start bash");
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let all = complete(&["hone", ""]);
    assert!(verbs.is_subset(&all), "{all:?}");
    assert_eq!(complete(&["hone", "prom"]), BTreeSet::from(["promote".to_owned()]));
    assert_eq!(complete(&["hone", "run", "--pid"]), BTreeSet::from(["--pids-limit".to_owned()]));
    assert_eq!(complete(&["hone", "trainer", "pack", "--app"]), BTreeSet::from(["--append".to_owned()]));
}

#[test]
fn completion_wants_one_of_three_shells() {
    let site = Site::new();
    for args in [&["completion"][..], &["completion", "tcsh"], &["completion", "bash", "zsh"]] {
        let output = site.command(args).output().expect("start hone");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn every_verb_has_a_page_that_lists_its_exit_codes() {
    let site = Site::new();
    site.ok(&["man", "pages/1"]);
    for verb in verbs(&site) {
        let page = fs::read_to_string(site.path(&format!("pages/1/hone-{verb}.1"))).expect("a page");
        assert!(page.contains(".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR"), "{page}");
    }
    let page = |name: &str| fs::read_to_string(site.path("pages/1").join(name)).expect("a page");
    assert!(page("hone.1").contains("hone\\-run(1)"), "{}", page("hone.1"));
    assert!(page("hone-run.1").contains("\\fB125\\fR"), "{}", page("hone-run.1"));
    assert!(page("hone-images.1").contains("\\fB141\\fR"), "{}", page("hone-images.1"));
    assert!(page("hone-trainer-pack.1").contains("append"), "{}", page("hone-trainer-pack.1"));
    assert!(!site.path("pages/1/hone-man.1").exists() && !site.path("pages/1/hone-help.1").exists());
}
