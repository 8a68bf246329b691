//! By which certificates a registry is believed, and which we show it: directories as docker, podman and skopeo have them
//! (containers-certs.d(5)).
//!
//! `*.crt` are authorities, believed besides those that this machine trusts, or a server's own certificate. `NAME.cert` and `NAME.key` are who we are to
//! a registry that asks for a certificate. Whatever else is in such a directory is passed over.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::Error;
use crate::tls::Verifier;

/// Largest certificate or key file that is read (bytes): all authorities of the world have a quarter of it.
const MAX_FILE: u64 = 1 << 20;
/// Most files of a directory that are looked at.
const MAX_FILES: usize = 1024;

/// Where a directory `HOST[:PORT]` may be with the certificates of that registry, most specific first: the user's, then
/// this machine's. `env` looks a variable up.
pub fn cert_dirs(env: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let user = home.map(|home| home.join(".config/containers/certs.d"));
    user.into_iter().chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

/// The first of `dirs` that has a directory for this registry, as skopeo chooses. What may not be read is somebody else's.
pub(crate) fn dir_of(dirs: &[PathBuf], domain: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join(domain)).find(|dir| fs::read_dir(dir).is_ok())
}

/// Whom to believe and who to be.
pub(crate) enum Trust {
    /// As the HTTP library can be told.
    Plain(TlsConfig),
    /// With authorities besides those of this machine.
    Besides(Arc<ClientConfig>),
}

/// Whom to believe without any directory: those that this machine trusts.
pub(crate) fn of_machine() -> Trust {
    Trust::Plain(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
}

/// Whom to believe and who to be at a registry with a directory of its own, or one whose certificate is not looked at.
pub(crate) fn of_registry(dir: Option<&Path>, verify: bool) -> Result<Trust, Error> {
    let found = dir.map(read).transpose()?.unwrap_or_default();
    if let (Some(dir), true, false) = (dir, verify, found.authorities.is_empty()) {
        return besides_those_of_machine(&found).map(Arc::new).map(Trust::Besides).map_err(failed(dir));
    }
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).client_cert(found.client);
    Ok(Trust::Plain(tls.disable_verification(!verify).build()))
}

/// What cannot be read of this machine's own is left to the error that a certificate is not known.
fn besides_those_of_machine(found: &Found) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let owned = |all: &[Certificate<'_>]| -> Vec<CertificateDer<'static>> {
        all.iter().map(|one| one.der().to_vec().into()).collect()
    };
    let named = owned(&found.authorities);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(named.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { web, named }));
    Ok(match &found.client {
        Some(we) => {
            let key = PrivateKeyDer::try_from(we.private_key().der().to_vec())?;
            config.with_client_auth_cert(owned(we.certs()), key)?
        }
        None => config.with_no_client_auth(),
    })
}

#[derive(Default)]
struct Found {
    authorities: Vec<Certificate<'static>>,
    client: Option<ClientCert>,
}

fn read(dir: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    for path in files(dir).map_err(failed(dir))? {
        match path.extension().and_then(|end| end.to_str()) {
            Some("crt") => found.authorities.extend(certificates(&path)?),
            Some("cert") => {
                let key = private_key(&path.with_extension("key"))?;
                // Of several a registry can be shown one; the first by name, so that it is always the same.
                let client = ClientCert::new_with_certs(&certificates(&path)?, key);
                found.client = found.client.or(Some(client));
            }
            // Alone it is nobody, and whoever put it there meant somebody.
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(failed(&path)("there is no certificate beside this key, want one that ends in .cert"));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Its files, sorted.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.take(MAX_FILES);
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let bytes = small(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(failed(path))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(failed(path)("there is no certificate in it, want one in PEM")),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, Error> {
    PrivateKey::from_pem(&small(path)?).map_err(failed(path))
}

fn small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(failed(path))?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(failed(path)("the file is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> Error {
    let file = path.display().to_string();
    |source| Error::Certificates { file, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("directory");
        for (name, content) in files {
            fs::write(dir.path().join(name), content).expect("file");
        }
        dir
    }

    const CA: &str = include_str!("../tests/tls/ca.crt");
    const CLIENT: &str = include_str!("../tests/tls/client.cert");
    const KEY: &str = include_str!("../tests/tls/client.key");

    fn said(files: &[(&str, &str)]) -> String {
        let dir = dir(files);
        let error = read(dir.path()).err().expect("an error");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}").replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn authorities_and_pairs_are_taken_and_the_rest_is_passed_over() {
        let twice = format!("{CA}\n{CA}");
        let files = [("a.crt", twice.as_str()), ("b.crt", CA), ("c.cert", CLIENT), ("c.key", KEY), ("README", "x")];
        let found = dir(&files);
        let found = read(found.path()).expect("read");
        assert_eq!(found.authorities.len(), 3);
        assert_eq!(found.client.expect("client").certs().len(), 1);
        assert!(read(dir(&[]).path()).expect("empty").client.is_none());
    }

    #[test]
    fn what_is_half_or_no_certificate_is_named() {
        assert!(said(&[("c.cert", CLIENT)]).starts_with("read certificates DIR/c.key"));
        assert!(said(&[("c.key", KEY)]).contains("DIR/c.key: there is no certificate beside this key"));
        assert!(said(&[("a.crt", "nothing")]).contains("DIR/a.crt: there is no certificate in it"));
        assert!(said(&[("a.crt", KEY)]).contains("there is no certificate in it"));
        assert!(said(&[("a.crt", &"x".repeat(2 << 20))]).contains("larger than 1 MiB"));
    }

    #[test]
    fn the_first_place_that_knows_the_registry_counts() {
        let (user, machine) = (dir(&[]), dir(&[]));
        let places = [user.path().to_owned(), machine.path().to_owned()];
        assert_eq!(dir_of(&places, "r.example:5000"), None);
        fs::create_dir(machine.path().join("r.example:5000")).expect("directory");
        assert_eq!(dir_of(&places, "r.example:5000"), Some(machine.path().join("r.example:5000")));
        fs::create_dir(user.path().join("r.example:5000")).expect("directory");
        assert_eq!(dir_of(&places, "r.example:5000"), Some(user.path().join("r.example:5000")));
        assert_eq!(dir_of(&places, "r.example"), None);
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
        assert_eq!(cert_dirs(&home)[0], Path::new("/home/u/.config/containers/certs.d"));
        assert_eq!(cert_dirs(&|_| None).len(), 2);
    }
}
