//! The machine that this program runs on, as images name machines.

use hone_image::oci::Platform;
use hone_image::platform::{arm_variant, goarch};

/// This machine's processor, as Go names it.
pub fn this_processor() -> &'static str {
    goarch(std::env::consts::ARCH)
}

/// This machine as a platform, with the level that its processor has.
pub fn this_machine() -> Platform {
    let architecture = this_processor();
    let variant = match architecture {
        "arm" => arm_variant(&rustix::system::uname().machine().to_string_lossy()),
        "amd64" => Some(amd64_level()),
        _ => None,
    };
    Platform::linux(architecture, variant)
}

/// The level of the x86-64 psABI ("Micro-Architecture Levels"), as far as its features can be asked for.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    let v2 =
        has!("cmpxchg16b") && has!("popcnt") && has!("sse3") && has!("sse4.1") && has!("sse4.2") && has!("ssse3");
    let v3 = v2 && has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma");
    let v3 = v3 && has!("lzcnt") && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (_, _, true) => "v4",
        (_, true, _) => "v3",
        (true, ..) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> &'static str {
    "v1"
}
