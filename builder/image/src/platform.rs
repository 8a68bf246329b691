//! Which image runs on which machine: the one matcher, for pull, run, build, the engines and inspect.
//!
//! The operating system is always Linux. Of several images that a machine can run the one for the highest level is taken,
//! in the order of Go and containerd (containerd/platforms, compare.go): v8, v7, v6, v5 on arm, v4 to v1 on amd64. Unlike
//! containerd's, a machine takes images of its own architecture only: what trains in an emulated or a 32-bit program would
//! not be what the trainer was checked for.

use std::collections::BTreeMap;
use std::fmt;

use hone_contract::quoted;

use crate::media;
use crate::oci::{Descriptor, Platform};

/// Processors: Go's name, which images have (GOARCH), what Rust, `uname -m` and Debian say, and ELF's `e_machine` (System V
/// ABI, "ELF Header"). What is not here is called the same by all.
const PROCESSORS: [(&str, &[&str], u16); 5] = [
    ("386", &["x86", "i386", "i486", "i586", "i686"], 3),
    ("amd64", &["x86_64", "x86-64"], 62),
    ("arm", &[], 40),
    ("arm64", &["aarch64"], 183),
    ("riscv64", &[], 243),
];
/// What stands where there is no operating system and no processor: artifacts in an index.
const NOBODY: &str = "unknown";

impl Platform {
    /// Linux on this architecture.
    pub fn linux(architecture: &str, variant: Option<&str>) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
            rest: BTreeMap::new(),
        }
    }

    /// What an artifact in an index runs on, so that no engine takes it for an image.
    pub fn nobody() -> Self {
        Self { os: NOBODY.to_owned(), ..Self::linux(NOBODY, None) }
    }

    /// Whether it is no platform.
    pub fn is_nobody(&self) -> bool {
        self.os == NOBODY && self.architecture == NOBODY
    }

    /// Whether the operating system is Linux.
    pub fn is_linux(&self) -> bool {
        self.os.eq_ignore_ascii_case("linux")
    }

    /// Whether this machine runs an image for `image`.
    pub fn runs(&self, image: &Self) -> bool {
        self.rank(image).is_some()
    }

    /// How well an image for `image` fits this machine: higher is better, `None` when it does not run.
    fn rank(&self, image: &Self) -> Option<u32> {
        if !self.is_linux() || !image.is_linux() {
            return None;
        }
        let (machine, image) = (Processor::of(self), Processor::of(image));
        if machine.architecture != image.architecture {
            return None;
        }
        match (machine.level, image.level) {
            (Some(most), Some(level)) => (level <= most).then_some(level),
            _ => (machine.variant == image.variant).then_some(0),
        }
    }
}

impl Descriptor {
    /// Whether it describes a statement of BuildKit about an image beside it (moby/buildkit, attestation-storage.md).
    pub fn is_attestation(&self) -> bool {
        let said = self.annotations.get(media::BUILDKIT_TYPE).is_some_and(|kind| kind == media::BUILDKIT_ATTESTATION);
        said || self.artifact_type.is_none() && self.platform.as_ref().is_some_and(Platform::is_nobody)
    }

    /// Whether whoever fetches all of an index fetches this: images for other systems stay where they are.
    pub fn is_for_linux_or_nobody(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| platform.is_linux() || platform.is_nobody())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", quoted(&self.os).at_most(32), quoted(&self.architecture).at_most(32))?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{}", quoted(variant).at_most(32)))
    }
}

/// Of `all` the one that fits `machine` best, the first of several; `None` when none runs on it, or says what it runs on.
pub fn best<'a, T>(machine: &Platform, all: &'a [T], platform: impl Fn(&T) -> Option<Platform>) -> Option<&'a T> {
    let mut found: Option<(u32, &T)> = None;
    for one in all {
        let rank = platform(one).and_then(|platform| machine.rank(&platform));
        if let Some(rank) = rank.filter(|rank| found.is_none_or(|(known, _)| *rank > known)) {
            found = Some((rank, one));
        }
    }
    found.map(|(_, one)| one)
}

/// A platform's processor under Go's name.
struct Processor<'a> {
    architecture: &'a str,
    variant: &'a str,
    /// Which levels below it contains; `None` where a variant is only a name.
    level: Option<u32>,
}

impl<'a> Processor<'a> {
    fn of(platform: &'a Platform) -> Self {
        let variant = platform.variant.as_deref().unwrap_or_default();
        // Normalized as containerd does: what `uname -m` and Debian say, and what is meant when nothing is said.
        let (architecture, variant) = match (goarch(&platform.architecture), variant) {
            ("armel", _) => ("arm", "v6"),
            ("armhf", _) | ("arm", "") => ("arm", "v7"),
            (known, "") => (known, unwritten(known).unwrap_or_default()),
            known => known,
        };
        let level = ["amd64", "arm64", "arm"].contains(&architecture).then(|| level(architecture, variant)).flatten();
        Self { architecture, variant, level }
    }
}

/// `v7`, `7`, `v8.2`; v9 contains v8.5, and v9.1 v8.6 (Arm ARM, "Armv9-A").
fn level(architecture: &str, variant: &str) -> Option<u32> {
    let text = variant.strip_prefix('v').unwrap_or(variant);
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < 100);
    let (major, minor) = (number(major)?, number(minor)?);
    match architecture {
        "arm64" if major >= 9 => Some(800 + (major - 9) * 10 + minor + 5),
        _ => Some(major * 100 + minor),
    }
}

/// The variant that is meant when none is written, and that nobody writes (containerd platforms.Normalize).
pub fn unwritten(goarch: &str) -> Option<&'static str> {
    match goarch {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        _ => None,
    }
}

/// The name that Go has for what Rust (`std::env::consts::ARCH`), `uname -m` or Debian calls a processor.
pub fn goarch(name: &str) -> &str {
    PROCESSORS.iter().find(|(_, names, _)| names.contains(&name)).map_or(name, |(go, ..)| go)
}

/// The name that Go has for the processor of an ELF program.
pub fn goarch_of_elf(machine: u16) -> Option<&'static str> {
    PROCESSORS.iter().find(|(.., elf)| *elf == machine).map(|(go, ..)| *go)
}

/// The variant that `uname -m` tells on an arm, whose programs are 32-bit ones: the kernel may be a 64-bit one.
pub fn arm_variant(uname: &str) -> Option<&'static str> {
    match uname {
        "aarch64" | "aarch64_be" => Some("v8"),
        _ if uname.starts_with("armv8") => Some("v8"),
        _ if uname.starts_with("armv7") => Some("v7"),
        _ if uname.starts_with("armv6") => Some("v6"),
        _ if uname.starts_with("armv5") => Some("v5"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `os/architecture`, `os/architecture/variant`.
    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/');
        let mut next = || parts.next().map(str::to_owned);
        let (os, architecture) = (next().expect("os"), next().expect("architecture"));
        Platform { architecture, os, variant: next(), rest: BTreeMap::new() }
    }

    fn chosen<'a>(machine: &str, all: &[&'a str]) -> Option<&'a str> {
        best(&platform(machine), all, |text| Some(platform(text))).copied()
    }

    #[test]
    fn the_highest_level_that_runs_is_taken_whatever_comes_first() {
        let arms = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"];
        for (machine, want) in [("v5", 0), ("v6", 1), ("v7", 2), ("v8", 3)] {
            assert_eq!(chosen(&format!("linux/arm/{machine}"), &arms), Some(arms[want]));
            let mut backwards = arms;
            backwards.reverse();
            assert_eq!(chosen(&format!("linux/arm/{machine}"), &backwards), Some(arms[want]));
        }
        assert_eq!(chosen("linux/arm", &arms), Some("linux/arm/v7"));
        assert_eq!(chosen("linux/arm/v6", &["linux/arm"]), None, "without a variant v7 is meant");
        let levels = ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"];
        for (machine, want) in [("", 0), ("/v1", 0), ("/v2", 1), ("/v3", 2), ("/v4", 3)] {
            assert_eq!(chosen(&format!("linux/amd64{machine}"), &levels), Some(levels[want]));
        }
        assert_eq!(chosen("linux/amd64", &levels[1..]), None);
    }

    #[test]
    fn the_same_processor_has_several_names() {
        for (machine, image) in [
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64", "linux/aarch64"),
            ("linux/arm64", "linux/arm64/8"),
            ("linux/arm64/v9", "linux/arm64/v8.5"),
            ("linux/amd64", "linux/x86_64"),
            ("linux/amd64", "linux/amd64/v1"),
            ("linux/amd64", "Linux/amd64"),
            ("linux/arm/v7", "linux/armhf"),
            ("linux/arm/v7", "linux/armel"),
            ("linux/riscv64", "linux/riscv64"),
            ("linux/ppc64le/power9", "linux/ppc64le/power9"),
        ] {
            assert!(platform(machine).runs(&platform(image)), "{machine} {image}");
        }
    }

    #[test]
    fn other_systems_processors_and_what_is_none_do_not_run() {
        let all = ["windows/amd64", "unknown/unknown", "linux/arm64", "unknown/amd64", "darwin/amd64", "linux/386"];
        assert_eq!(chosen("linux/amd64", &all), None);
        let mut and_ours = all.to_vec();
        and_ours.push("linux/amd64");
        assert_eq!(chosen("linux/amd64", &and_ours), Some("linux/amd64"));
        for (machine, image) in [
            ("linux/arm64", "linux/arm64/v8.1"),
            ("linux/arm64/v9", "linux/arm64/v8.6"),
            ("linux/arm64", "linux/arm/v7"),
            ("linux/ppc64le/power8", "linux/ppc64le/power9"),
            ("linux/amd64", "linux/amd64/v"),
            ("linux/amd64", "linux/amd64/v99999999999"),
            ("unknown/unknown", "unknown/unknown"),
        ] {
            assert!(!platform(machine).runs(&platform(image)), "{machine} {image}");
        }
        assert_eq!(best(&platform("linux/amd64"), &[1, 2], |_| None), None);
    }

    #[test]
    fn a_machine_is_told_by_its_kernel() {
        for (uname, want) in
            [("armv6l", "v6"), ("armv7l", "v7"), ("armv8l", "v8"), ("aarch64", "v8"), ("armv5tel", "v5")]
        {
            assert_eq!(arm_variant(uname), Some(want));
        }
        assert_eq!(arm_variant("x86_64"), None);
        assert_eq!((goarch("x86_64"), goarch("aarch64"), goarch("riscv64")), ("amd64", "arm64", "riscv64"));
        assert_eq!((goarch("i686"), goarch("amd64"), goarch("s390x")), ("386", "amd64", "s390x"));
        assert_eq!([3, 40, 62, 183, 243].map(goarch_of_elf), ["386", "arm", "amd64", "arm64", "riscv64"].map(Some));
        assert_eq!(goarch_of_elf(0), None);
    }

    #[test]
    fn a_strangers_platform_is_quoted() {
        let shown = Platform::linux(&"\u{1b}[2J".repeat(1000), Some("v\u{202e}")).to_string();
        assert!(shown.len() < 300 && !shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        assert_eq!(platform("linux/arm/v7").to_string(), "linux/arm/v7");
    }
}
