//! The ways out to engines and archives, and back in, against the real tools: what is sent, what they say it is, and
//! that it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use hone_archive::{Archive, OciShipment, ShipLayer, Shipment, write_docker_archive, write_oci_archive};
use hone_contract::{Digest, Reference};
use hone_engines::{Containerd, Docker, Engine, Podman};
use hone_image::oci::{Descriptor, Manifest, Platform, Sealed};
use hone_image::{Artifact, Image, Pack, media};
use hone_tests::{World, containerd, needs, rootfs, run};
use serde_json::{Value, json};

/// An image of busybox, weights that do not compress, and what else a test puts on top.
struct Made {
    reference: Reference,
    tars: Vec<Vec<u8>>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    pack: Pack,
}

fn tar(dir: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    let out = tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C"]).arg(dir).args(["-c", "."]);
    out.output().expect("run tar").stdout
}

/// A layer with one file.
fn layer(world: &World, name: &str, content: &[u8]) -> Vec<u8> {
    let dir = world.folder(&format!("layer-{name}"));
    fs::write(dir.join(name), content).expect("write");
    tar(&dir)
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The lower layers of every image here.
fn base(world: &World) -> Vec<Vec<u8>> {
    let root = world.folder("rootfs");
    if !root.join("bin").exists() {
        rootfs::busybox(&root);
    }
    vec![tar(&root), layer(world, "weights", &noise(4 << 20))]
}

fn machine() -> &'static str {
    hone_image::platform::goarch(std::env::consts::ARCH)
}

impl Made {
    /// An image of plain tars, or with the first of them compressed as Hone stores it.
    fn new(reference: &str, tars: Vec<Vec<u8>>, compressed: bool, architectures: &[&str]) -> Self {
        let mut blobs = BTreeMap::new();
        let mut layers = Vec::new();
        for (n, tar) in tars.iter().enumerate() {
            let (media_type, blob) = match compressed && n == 0 {
                true => (media::LAYER_ZSTD, zstd(tar)),
                false => (media::LAYER_TAR, tar.clone()),
            };
            layers.push(Descriptor::of(media_type, Digest::of(&blob), blob.len() as u64));
            blobs.insert(Digest::of(&blob), blob);
        }
        let images: Vec<_> = architectures.iter().map(|name| image(&tars, &layers, name)).collect();
        let pack = match images.len() {
            1 => Pack::alone(images[0].clone()),
            _ => Pack::new(images, vec![model(layers.last().expect("a layer"))]),
        };
        Self { reference: reference.parse().expect("a reference"), tars, blobs, pack }
    }

    fn id(&self) -> Digest {
        self.pack.image_for(&Platform::linux(machine(), None)).expect("an image").config().digest()
    }

    fn by_manifest(&self) -> OciShipment<'_> {
        let open = |layer: &Descriptor| -> hone_archive::Open<'_> {
            let blob = &self.blobs[&layer.digest];
            Box::new(move || Ok(Box::new(Cursor::new(blob.clone()))))
        };
        OciShipment::pack(&self.reference, &self.pack, open).expect("a whole shipment")
    }

    /// By diff id; the layers below `from` are nowhere but in the engine.
    fn by_diff_id(&self, from: usize) -> Shipment<'_> {
        let ship = |(n, tar): (usize, &Vec<u8>)| {
            let (diff_id, bytes) = (Digest::of(tar), tar.clone());
            let open: hone_archive::Open<'_> = match n < from {
                true => Box::new(|| Err(std::io::Error::other("it is only in the engine"))),
                false => Box::new(move || Ok(Box::new(Cursor::new(bytes.clone())))),
            };
            ShipLayer { diff_id, size: (n >= from).then_some(tar.len() as u64), open }
        };
        let config =
            self.pack.image_for(&Platform::linux(machine(), None)).expect("an image").config().bytes().to_vec();
        let layers = self.tars.iter().enumerate().map(ship).collect();
        Shipment { reference: self.reference.to_string(), config, layers }
    }

    fn file(&self, world: &World, form: &str) -> PathBuf {
        let path = world.dir().join(format!("{form}.tar"));
        let mut file = File::create(&path).expect("make file");
        match form {
            "docker" => write_docker_archive(&self.by_diff_id(0), &mut file),
            _ => write_oci_archive(&self.by_manifest(), &mut file),
        }
        .expect("write archive");
        file.flush().expect("flush");
        path
    }
}

fn zstd(tar: &[u8]) -> Vec<u8> {
    let mut encoder = hone_store::zstd_writer(Vec::new()).expect("encoder");
    encoder.write_all(tar).expect("compress");
    encoder.finish().expect("compress")
}

fn image(tars: &[Vec<u8>], layers: &[Descriptor], architecture: &str) -> Image {
    let ids: Vec<_> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let show = "ls -s /weights; cat /adapter 2>/dev/null || echo no adapter";
    let config = json!({ "architecture": architecture, "os": "linux",
        "config": { "Cmd": ["/bin/sh", "-c", show], "Env": ["PATH=/bin"], "Labels": { "a": "b" } },
        "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = Sealed::parse("config", config.to_string().into_bytes()).expect("config");
    let manifest = Manifest::new(config.descriptor(media::CONFIG), layers.to_vec(), BTreeMap::new());
    Image::join(Sealed::new(manifest), config).expect("an image")
}

/// A model over the same weights.
fn model(weights: &Descriptor) -> Artifact {
    let config: Sealed<Value> = Sealed::parse("config", b"{\"descriptor\":{}}".to_vec()).expect("config");
    let weights = Descriptor { media_type: media::MODEL_WEIGHT_TAR.to_owned(), ..weights.clone() };
    let manifest = Manifest::artifact(media::MODEL_MANIFEST, config.descriptor(media::MODEL_CONFIG), vec![weights]);
    Artifact { manifest: Sealed::new(manifest), config }
}

/// Asserts that what an engine saved is the image that it was given, to the byte.
fn same(archive: &Archive, made: &Made) {
    let packs = archive.packs();
    assert_eq!(packs.len(), 1);
    let names: Vec<_> = packs[0].names.iter().map(Reference::name).collect();
    assert!(names.iter().any(|name| name.ends_with(&made.reference.name())), "{names:?}");
    let image = packs[0].pack.image_for(&Platform::linux(machine(), None)).expect("an image");
    assert_eq!(image.config().digest(), made.id());
    for layer in image.layers() {
        let mut bytes = Vec::new();
        archive.open_blob(layer.descriptor.digest).expect("a blob").read_to_end(&mut bytes).expect("read");
        assert_eq!(Digest::of(&bytes), layer.descriptor.digest, "of a layer");
    }
}

/// A namespace whose control groups are the world's.
fn namespace(world: &World) -> String {
    world.dir().file_name().expect("a name").to_string_lossy().into_owned()
}

fn engine(world: &World) -> Containerd {
    Containerd::at(&world.dir().join("containerd.sock").to_string_lossy(), &namespace(world))
}

fn ctr(world: &World, line: &str) -> String {
    world.sh(&format!("ctr --address \"$PWD/containerd.sock\" --namespace {} {line}", namespace(world))).ok()
}

#[test]
fn containerd_is_sent_what_it_lacks_and_runs_it() {
    if !needs(&["containerd", "ctr", "runc"]) {
        return;
    }
    let world = containerd();
    let engine = engine(&world);
    let lower = base(&world);
    let made = Made::new("assistant:base", lower.clone(), true, &["amd64", "arm64"]);
    let sent = engine.deliver(&made.by_manifest()).expect("deliver");
    assert_eq!(sent.sent_layers, 2);
    assert_eq!(sent.sent_bytes, made.blobs.values().map(|blob| blob.len() as u64).sum::<u64>());
    assert_eq!(
        engine.deliver(&made.by_manifest()).expect("deliver").sent_bytes,
        0,
        "the second time nothing goes over"
    );

    // What nothing refers to goes, and the image is none of that.
    ctr(&world, "images tag docker.io/library/assistant:base docker.io/library/other:x");
    ctr(&world, "images rm --sync docker.io/library/other:x");
    let listed = ctr(&world, "images ls name==docker.io/library/assistant:base");
    assert!(listed.contains(&made.pack.digest().to_string()), "{listed}");
    for snapshotter in ["native", "overlayfs"] {
        let line = format!("run --rm --snapshotter {snapshotter} docker.io/library/assistant:base {snapshotter}");
        assert!(ctr(&world, &line).ends_with("no adapter"), "{snapshotter}");
    }

    let adapter = layer(&world, "adapter", b"of the first version");
    let version = Made::new("assistant:base-v1", [lower, vec![adapter.clone()]].concat(), true, &[machine()]);
    let sent = engine.load(&version.by_diff_id(2)).expect("load");
    assert_eq!((sent.sent_layers, sent.sent_bytes), (1, adapter.len() as u64));
    let said = ctr(&world, "run --rm --snapshotter native docker.io/library/assistant:base-v1 v1");
    assert!(said.ends_with("of the first version"), "{said}");
    assert_eq!(engine.inspect("assistant:base-v1").expect("inspect").expect("there").id, version.id());
}

#[test]
fn containerd_tells_what_it_has() {
    if !needs(&["containerd", "ctr", "runc"]) {
        return;
    }
    let world = containerd();
    let engine = engine(&world);
    let made = Made::new("assistant:base", base(&world), true, &["amd64", "arm64"]);
    assert_eq!(engine.inspect("assistant:base").expect("inspect"), None);
    assert_eq!(engine.inspect("not a reference").expect("inspect"), None);
    engine.deliver(&made.by_manifest()).expect("deliver");
    for name in ["assistant:base", "docker.io/library/assistant:base", &made.id().to_string()] {
        let found = engine.inspect(name).expect("inspect").expect("there");
        assert_eq!((found.id, found.architecture.as_str()), (made.id(), machine()));
        assert_eq!(found.config["Labels"]["a"], "b");
        assert_eq!(found.diff_ids.len(), 2);
    }
    ctr(&world, "containers create --snapshotter native docker.io/library/assistant:base box");
    let image = engine.image_of("box").expect("image of a container");
    assert_eq!((image.reference.as_str(), image.config), ("assistant:base", made.id()));
    let error = engine.image_of("other").expect_err("no such container").to_string();
    assert!(error.contains("get container other") && error.contains("not found"), "{error}");
    let error = engine.save("other:x", world.dir()).expect_err("no such image").to_string();
    assert!(error.ends_with("save image other:x: it has no image of this name"), "{error}");
    same(&engine.save("assistant:base", world.dir()).expect("save"), &made);
    assert!(
        fs::read_dir(world.dir())
            .expect("list")
            .all(|e| { !e.expect("entry").file_name().to_string_lossy().starts_with("hone-save") })
    );
}

/// Has containerd collect what nobody refers to, and waits for it.
fn collect(address: &Path, namespace: &str) {
    let ctr = |args: &[&str]| {
        let mut ctr = Command::new("ctr");
        run(ctr.arg("--address").arg(address).args(["--namespace", namespace]).args(args)).ok()
    };
    let name = ctr(&["images", "ls", "--quiet"]).lines().next().expect("an image").to_owned();
    ctr(&["images", "tag", &name, "docker.io/library/other:x"]);
    ctr(&["images", "rm", "--sync", "docker.io/library/other:x"]);
}

#[test]
fn what_is_sent_survives_the_collector_until_it_has_its_name_and_what_fails_leaves_nothing() {
    if !needs(&["containerd", "ctr"]) {
        return;
    }
    let world = containerd();
    let (engine, address, namespace) = (engine(&world), world.dir().join("containerd.sock"), namespace(&world));
    let first = Made::new("first:x", vec![layer(&world, "first", b"1")], false, &[machine()]);
    engine.deliver(&first.by_manifest()).expect("deliver");
    let made = Made::new("assistant:base", base(&world), true, &["amd64", "arm64"]);
    // A reader that ends early: nothing of the image is named, and nothing half written is gone on with.
    let broken = |layer: &Descriptor| -> hone_archive::Open<'_> {
        let blob = made.blobs[&layer.digest].clone();
        Box::new(move || Ok(Box::new(Cursor::new(blob[..blob.len() - 1].to_vec()))))
    };
    let shipment = OciShipment::pack(&made.reference, &made.pack, broken).expect("a shipment");
    let error = engine.deliver(&shipment).expect_err("a layer is short");
    assert!(std::error::Error::source(&error).expect("a cause").to_string().contains("bytes, want"), "{error}");
    assert!(!ctr(&world, "images ls").contains("assistant"));
    assert!(!ctr(&world, "content active").contains("hone-"));
    // Each blob comes after everything without a lease is collected.
    let collecting = |layer: &Descriptor| -> hone_archive::Open<'_> {
        let (blob, address, namespace) = (made.blobs[&layer.digest].clone(), address.clone(), namespace.clone());
        Box::new(move || {
            collect(&address, &namespace);
            Ok(Box::new(Cursor::new(blob.clone())))
        })
    };
    let shipment = OciShipment::pack(&made.reference, &made.pack, collecting).expect("a shipment");
    assert_eq!(engine.deliver(&shipment).expect("deliver").sent_layers, 2);
    assert_eq!(ctr(&world, "leases ls --quiet"), "");
    collect(&address, &namespace);
    same(&engine.save("assistant:base", world.dir()).expect("save"), &made);
    assert!(ctr(&world, "content ls").contains("containerd.io/gc.ref.content.m.0="));
    // What another namespace has is not sent again.
    let other = Containerd::at(&address.to_string_lossy(), "other");
    assert_eq!(other.deliver(&made.by_manifest()).expect("deliver").sent_bytes, 0);
    same(&other.save("assistant:base", world.dir()).expect("save"), &made);
}

#[test]
fn an_image_that_is_not_there_whole_stays_behind_and_the_others_are_saved() {
    if !needs(&["containerd", "ctr"]) {
        return;
    }
    let world = containerd();
    let engine = engine(&world);
    let made = Made::new("assistant:base", base(&world), true, &["amd64", "arm64"]);
    engine.deliver(&made.by_manifest()).expect("deliver");
    let other = made.pack.images().iter().find(|image| image.config().digest() != made.id()).expect("another");
    ctr(&world, &format!("content rm {}", other.config().digest()));
    let archive = engine.save("assistant:base", world.dir()).expect("save");
    assert_eq!(archive.packs()[0].pack.images().len(), 1);
    same(&archive, &made);
    // An image that is replaced is replaced.
    let next = Made::new("assistant:base", vec![layer(&world, "first", b"1")], false, &[machine()]);
    engine.load(&next.by_diff_id(0)).expect("load");
    assert_eq!(engine.inspect("assistant:base").expect("inspect").expect("there").id, next.id());
}

#[test]
fn an_image_that_cannot_be_whole_does_not_get_its_name() {
    if !needs(&["containerd", "ctr"]) {
        return;
    }
    let world = containerd();
    let made = Made::new("assistant:base", base(&world), true, &[machine()]);
    let error = engine(&world).load(&made.by_diff_id(1)).expect_err("a layer is nowhere");
    let layer = Digest::of(&made.tars[0]);
    assert_eq!(error.to_string(), format!("send image assistant:base: layer {layer}"));
    assert!(!ctr(&world, "images ls").contains("assistant"));
}

#[test]
fn an_oci_archive_is_taken_by_skopeo_podman_and_ctr() {
    if !needs(&["containerd", "ctr", "skopeo", "podman", "runc"]) {
        return;
    }
    let world = hone_tests::podman();
    let made = Made::new("assistant:base", base(&world), true, &[machine()]);
    let path = made.file(&world, "oci");
    let inspected = world.sh(&format!("skopeo inspect oci-archive:{}:assistant:base", path.display())).json();
    assert_eq!(inspected["Digest"], made.pack.digest().to_string());
    world.sh("skopeo copy --quiet --preserve-digests oci-archive:oci.tar:assistant:base oci:copy:base").ok();
    let copied = world.sh("skopeo inspect --format '{{.Digest}}' oci:copy:base").ok();
    assert_eq!(copied, made.pack.digest().to_string());
    world.sh("podman load --quiet --input oci.tar").ok();
    let id = world.sh("podman image inspect --format '{{.Id}}' assistant:base").ok();
    assert_eq!(id, made.id().hex());
    assert!(world.sh("podman run --rm --network none assistant:base").ok().ends_with("no adapter"));

    let other = containerd();
    other.sh(&format!("cp {} oci.tar", path.display())).ok();
    ctr(&other, "images import --snapshotter native oci.tar");
    assert!(ctr(&other, "run --rm --snapshotter native docker.io/library/assistant:base a").ends_with("no adapter"));
}

#[test]
fn a_pack_in_an_archive_is_one_index_for_skopeo_and_containerd() {
    if !needs(&["containerd", "ctr", "skopeo"]) {
        return;
    }
    let world = containerd();
    let made = Made::new("assistant:base", base(&world), true, &["amd64", "arm64"]);
    made.file(&world, "oci");
    let raw = world.sh("skopeo inspect --raw oci-archive:oci.tar:assistant:base");
    assert_eq!(Digest::of(raw.stdout.as_bytes()), made.pack.digest());
    // Not with --preserve-digests: of an index skopeo loses what it does not know (1.9: artifactType).
    world.sh("skopeo copy --all --quiet oci-archive:oci.tar:assistant:base oci:copy:base").ok();
    for image in made.pack.images() {
        let config = image.config().digest().hex();
        assert!(world.dir().join("copy/blobs/sha256").join(config).exists(), "as it was");
    }
    ctr(&world, "images import --no-unpack --all-platforms oci.tar");
    let listed = ctr(&world, "images ls");
    assert!(listed.contains(&made.pack.digest().to_string()), "{listed}");
    assert_eq!(
        Archive::open(File::open(world.dir().join("oci.tar")).expect("open")).expect("read").packs()[0].pack,
        made.pack
    );
}

#[test]
fn both_archives_are_taken_by_docker_and_docker_s_by_us() {
    if !needs(&["containerd", "dockerd", "docker", "runc"]) {
        return;
    }
    let mut world = containerd();
    let dir = world.dir().display().to_string();
    let (socket, host) = (format!("{dir}/containerd.sock"), format!("unix://{dir}/docker.sock"));
    let parent = format!("/{}", namespace(&world));
    let args = ["--containerd", &socket, "--host", &host, "--pidfile", "/run/docker.pid", "--cgroup-parent", &parent];
    world.daemon("dockerd", &args);
    world.wait_for(30, &format!("docker --host {host} info"));
    let docker = |line: &str| world.sh(&format!("docker --host {host} {line}")).ok();
    // dockers before 23 know gzip only: plain tars go into all of them.
    let made = Made::new("assistant:base", base(&world), false, &[machine()]);
    for form in ["docker", "oci"] {
        made.file(&world, form);
        docker(&format!("load --quiet --input {form}.tar"));
        let id = docker("image inspect --format '{{.Id}}' assistant:base");
        assert_eq!(id, made.id().to_string(), "{form}");
        assert!(docker("run --rm --network none assistant:base").ends_with("no adapter"), "{form}");
        same(&Docker::at(&host).save("assistant:base", world.dir()).expect("save"), &made);
        docker("image rm assistant:base");
    }
}

#[test]
fn podman_s_images_come_back_as_the_tars_they_were() {
    if !needs(&["podman", "skopeo"]) {
        return;
    }
    let world = World::new();
    let made = Made::new("assistant:base", base(&world), false, &[machine()]);
    let (root, state) = (world.folder("pod"), world.folder("podrun"));
    let podman = Podman::at(&root.to_string_lossy(), &state.to_string_lossy());
    podman.load(&made.by_diff_id(0)).expect("load");
    let archive = podman.save("assistant:base", world.dir()).expect("save");
    same(&archive, &made);
    let ids = made.tars.iter().map(|tar| Digest::of(tar)).collect::<Vec<_>>();
    let layers = archive.packs()[0].pack.images()[0].layers();
    assert_eq!(layers.iter().map(|layer| layer.descriptor.digest).collect::<Vec<_>>(), ids);
    // What podman writes as an OCI archive, gzip and all, is read as well.
    let roots = format!("--root {} --runroot {}", root.display(), state.display());
    run(Command::new("sh")
        .current_dir(world.dir())
        .args(["-c", &format!("podman {roots} save -q --format oci-archive -o p.tar assistant:base")]))
    .ok();
    same(&Archive::open(File::open(world.dir().join("p.tar")).expect("open")).expect("read"), &made);
}
