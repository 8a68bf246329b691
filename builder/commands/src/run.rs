//! The command line of `hone run`, as docker users know it.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use hone_contract::size::in_units;

/// Runs an image of the local store: trains, or generates, or whatever its arguments say.
#[derive(Debug, Clone, Parser)]
#[command(name = "hone run", bin_name = "hone run", version)]
pub struct Args {
    /// Nothing but a run's staging is ever kept; accepted for docker's sake.
    #[arg(long)]
    pub rm: bool,
    /// SRC:DST or SRC:DST:ro, a directory or file of this machine in the container.
    #[arg(short, long = "volume", value_name = "SRC:DST[:ro]", value_parser = volume)]
    pub volumes: Vec<Volume>,
    /// NAME=VALUE, or NAME to pass this machine's value on.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Name of the container; default: made up.
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Memory limit: bytes, or with k, m, g, t.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Processors, e.g. 1.5.
    #[arg(long, value_name = "N", value_parser = cpus)]
    pub cpus: Option<f64>,
    /// Most processes and threads.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub pids_limit: Option<i64>,
    /// Begin anew, without the checkpoint of an earlier run of the same job on the same data.
    #[arg(long)]
    pub fresh: bool,
    /// UID, UID:GID or NAME, instead of the image's.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Make the root file system read-only.
    #[arg(long)]
    pub read_only: bool,
    /// The container's network; a training container has none, whatever is said here.
    #[arg(long, value_enum, default_value_t = Network::None)]
    pub network: Network,
    /// Where images and versions are.
    #[arg(long, env = "HONE_ROOT", default_value = "/var/lib/hone", value_name = "DIR")]
    pub root: PathBuf,
    /// The image: a name, or the first digits of its digest.
    pub image: String,
    /// Replaces the image's default arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// What of the network the container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A namespace of its own with nothing but loopback.
    None,
    /// This machine's.
    Host,
}

/// A directory or file of this machine in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Of this machine.
    pub source: PathBuf,
    /// In the container; absolute.
    pub destination: String,
    /// Nothing is written to it.
    pub read_only: bool,
}

fn volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, destination, read_only) = match parts[..] {
        [source, destination] | [source, destination, "rw"] => (source, destination, false),
        [source, destination, "ro"] => (source, destination, true),
        _ => return Err("want SRC:DST or SRC:DST:ro".to_owned()),
    };
    if source.is_empty() || !destination.starts_with('/') || destination.split('/').any(|part| part == "..") {
        return Err(format!("want an absolute path without .. after the colon, got {destination:?}"));
    }
    Ok(Volume { source: source.into(), destination: destination.to_owned(), read_only })
}

fn name(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match text.bytes().all(fine) && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.len() <= 64
    {
        true => Ok(text.to_owned()),
        false => Err("want at most 64 of a-z A-Z 0-9 _ . -, beginning with a letter or digit".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let number = in_units(text).and_then(|(number, shift)| Some((number.parse::<u64>().ok()?, shift)));
    let (number, shift) = number.ok_or("want bytes, or a whole number with k, m, g or t")?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "want more than 0, less than 2^64".to_owned())
}

fn cpus(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "want a number like 1.5".to_owned())?;
    if (0.01..=10_000.0).contains(&number) { Ok(number) } else { Err("want 0.01 to 10000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_after_the_image_belongs_to_the_container() {
        let args =
            Args::parse_from(["hone run", "--rm", "-v", "d:/data:ro", "a:b", "generate", "--prompt", "x", "-v"]);
        assert_eq!(args.arguments, ["generate", "--prompt", "x", "-v"]);
        assert_eq!(args.volumes, [Volume { source: "d".into(), destination: "/data".into(), read_only: true }]);
    }

    #[test]
    fn sizes_are_docker_s() {
        for (text, want) in [("5", 5), ("1k", 1024), ("64M", 64 << 20), ("2gb", 2 << 30)] {
            assert_eq!(size(text), Ok(want));
        }
        for text in ["", "m", "-1", "1.5g", "99999999999g", "0"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes_that_name_no_place_are_refused() {
        for text in ["data", "data:data", ":/data", "a:/b:zz", "a:/b/../hone"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_cannot_be_paths_or_options() {
        assert!(name("box-1").is_ok());
        for text in ["", "../x", "-x", "a/b", ".hidden"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
