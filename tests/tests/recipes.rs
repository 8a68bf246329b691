//! Fine-tune files of other tools, converted, built and trained; and a model that is behind a proxy.

use std::fs;
use std::path::Path;

use hone_contract::Digest;
use hone_tests::{Tiny, World, needs};

/// A hub at 127.0.0.1:8000 with the model `org/tiny`, which no directory of the world has.
fn hub() -> World {
    let mut world = World::new();
    Tiny::default().write(world.dir(), "");
    world.sh("mkdir -p hub/org && mv model hub/org/tiny && rm Honefile").ok();
    world.serve();
    world
}

/// Builds the Honefile that `hone convert` made, trains it and tries the version.
fn trained(world: &World, name: &str) {
    world.sh(&format!("HF_ENDPOINT=http://127.0.0.1:8000 hone build -t {name}:base")).ok();
    world.sh(&format!("hone run --rm -v $PWD/data:/data {name}:base")).says("loss").ok();
    world.sh(&format!("hone log {name}:base")).says("base-v1").ok();
}

#[test]
fn root_an_aikit_file_trains() {
    if !needs(&["python3"]) {
        return;
    }
    let world = hub();
    let aikit = "#syntax=aikit\napiVersion: v1alpha1\nbaseModel: org/tiny\ndatasets:\n- source: a/b\n  type: alpaca\n\
        config:\n  unsloth:\n    maxSeqLength: 64\n    batchSize: 1\n    maxSteps: 2\noutput:\n  name: assistant\n";
    fs::write(world.dir().join("aikit.yaml"), aikit).expect("write");
    world.sh("hone convert aikit.yaml -o Honefile").says("a/b").ok();
    let example = r#"{"instruction": "say hello", "input": "", "output": "ahoy"}"#;
    fs::write(world.folder("data").join("a.jsonl"), format!("{example}\n{example}\n")).expect("write");
    trained(&world, "assistant");
}

#[test]
fn root_a_modelfile_trains() {
    if !needs(&["python3"]) {
        return;
    }
    let world = hub();
    let modelfile = "FROM ./hub/org/tiny\nPARAMETER num_ctx 64\nSYSTEM You are a sailor.\n";
    fs::write(world.dir().join("Modelfile"), modelfile).expect("write");
    world.sh("hone convert Modelfile --name sailor -o Honefile && echo '  steps: 2' >>Honefile").ok();
    let example = r#"{"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "ahoy"}]}"#;
    fs::write(world.folder("data").join("a.jsonl"), format!("{example}\n")).expect("write");
    trained(&world, "sailor");
}

/// Sends every `CONNECT` to 127.0.0.1:8000, whatever host it names, and keeps a line of each.
const PROXY: &str = r#"
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 3128))
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve(client):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            return
        head += byte
    open(sys.argv[1], "ab").write(head.split(b"\r\n")[0] + b"\n")
    server = socket.create_connection(("127.0.0.1", 8000))
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn root_a_model_behind_a_proxy_is_reached_through_it() {
    if !needs(&["python3"]) {
        return;
    }
    let mut world = hub();
    let at = |name: &str| world.dir().join(name).display().to_string();
    let (program, asked) = (at("proxy.py"), at("asked"));
    fs::write(&program, PROXY).expect("write");
    world.sh("cp hub/org/tiny/model.safetensors w.safetensors").ok();
    world.daemon("python3", &[&program, &asked]);
    world.wait_for(10, "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 3128))'");
    let sha256 = Digest::of(&fs::read(world.dir().join("w.safetensors")).expect("read")).hex();
    let build = |proxy: &str| {
        let base = format!("base: {{model: 'http://models.test/w.safetensors', sha256: {sha256}}}");
        let honefile = format!("apiVersion: hone.dev/v1\nname: far\n{base}\ntrainer: none\n");
        fs::write(world.dir().join("Honefile"), honefile).expect("write");
        world.sh(&format!("{proxy} hone build -t far:base"))
    };
    // There is no such host: without the proxy, or where it is not to be used, nothing is fetched.
    build("").fails(1);
    build("HTTP_PROXY=http://127.0.0.1:3128 NO_PROXY=models.test").fails(1);
    assert!(!Path::new(&asked).exists());
    build("HTTP_PROXY=http://127.0.0.1:3128").ok();
    world.sh("hone verify far:base").ok();
    assert!(fs::read_to_string(&asked).expect("read").starts_with("CONNECT models.test:80 "));
}
