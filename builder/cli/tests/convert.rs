//! `hone convert`: where the Honefile goes, what is said beside it, what is never replaced.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use common::Site;

const MODELFILE: &str = "FROM tiny\nPARAMETER num_ctx 64\nPARAMETER top_k 4\nSYSTEM Be brief.\n";
const AIKIT: &str = "apiVersion: v1alpha1\nbaseModel: org/name\ndatasets:\n- {source: a/b, type: alpaca}\n";

fn convert(site: &Site, args: &[&str]) -> (Output, String) {
    let output = site.command(&[&["convert"], args].concat()).output().expect("start hone");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn the_honefile_goes_out_and_the_notes_beside_it() {
    let site = Site::new();
    site.write("Modelfile", MODELFILE);
    let (output, said) = convert(&site, &["Modelfile"]);
    assert!(output.status.success(), "{said}");
    let honefile = String::from_utf8(output.stdout).unwrap();
    let plan = hone_plan::parse("Honefile", &honefile).unwrap();
    let finetune = plan.finetune.unwrap();
    assert_eq!((finetune.max_length, finetune.dataset.system.as_deref()), (64, Some("Be brief.")));
    assert!(said.starts_with("hone: Modelfile:3: PARAMETER top_k 4: an option of generation"), "{said}");
    assert!(honefile.contains("oci://registry.ollama.ai/library/tiny:latest"), "{honefile}");
    // The same name is a directory once there is one.
    site.write("tiny/config.json", "{}");
    let (output, _) = convert(&site, &["Modelfile", "--name", "mine"]);
    let honefile = String::from_utf8(output.stdout).unwrap();
    assert!(honefile.contains("name: mine\n") && honefile.contains("model: tiny\n"), "{honefile}");
}

#[test]
fn a_file_of_windows_shells_is_read() {
    let site = Site::new();
    site.write("Modelfile", MODELFILE);
    let want = convert(&site, &["Modelfile"]).0.stdout;
    let units = |order: fn(u16) -> [u8; 2]| MODELFILE.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    for bytes in [
        [b"\xff\xfe".as_slice(), &units(u16::to_le_bytes)].concat(),
        [b"\xfe\xff".as_slice(), &units(u16::to_be_bytes)].concat(),
        units(u16::to_le_bytes),
        [b"\xef\xbb\xbf", MODELFILE.as_bytes()].concat(),
    ] {
        site.write("Modelfile", bytes);
        let (output, said) = convert(&site, &["Modelfile"]);
        assert_eq!(output.stdout, want, "{said}");
    }
    site.write("Modelfile", b"FROM caf\xe9\n");
    let (output, said) = convert(&site, &["Modelfile"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "hone: Modelfile: it is neither UTF-8 nor UTF-16 text; save it as UTF-8\n");
}

#[test]
fn a_file_that_is_there_stays_unless_forced() {
    let site = Site::new();
    site.write("aikit.yaml", AIKIT);
    let (output, said) = convert(&site, &["aikit.yaml", "-o", "Honefile"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{said}");
    let path = site.path("Honefile");
    let first = std::fs::read_to_string(&path).unwrap();
    assert_eq!(hone_plan::parse("Honefile", &first).unwrap().finetune.unwrap().steps, Some(60));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o600, 0o600);
    let (output, said) = convert(&site, &["aikit.yaml", "-o", "Honefile", "--name", "other"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("write Honefile: it is there already; --force replaces it"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert!(convert(&site, &["aikit.yaml", "-o", "Honefile", "--name", "other", "--force"]).0.status.success());
    assert!(std::fs::read_to_string(&path).unwrap().contains("name: other\n"));
    assert_eq!(std::fs::read_dir(site.dir.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn mistakes_have_a_place_and_what_is_no_such_file_is_said() {
    let site = Site::new();
    site.write("Modelfile", "FROM a\nSYTEM x\n");
    let (output, said) = convert(&site, &["Modelfile"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("hone: Modelfile:2:1: unknown instruction `SYTEM`") && said.contains("`SYSTEM`"),
        "{said}"
    );
    site.write("x", "hello there\n");
    assert!(convert(&site, &["x"]).1.contains("neither a fine-tune configuration of AIKit nor a Modelfile"));
    assert!(convert(&site, &["x", "--from", "modelfile"]).1.contains("unknown instruction `hello`"));
    assert!(convert(&site, &["nowhere"]).1.contains("read nowhere"));
    site.write("m/Modelfile", "FROM ./m.gguf\n");
    let (output, said) = convert(&site, &["m/Modelfile", "-o", "Honefile"]);
    assert!(output.status.success() && said.contains("./m.gguf is beside m/Modelfile"), "{said}");
}
