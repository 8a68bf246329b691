//! Servers that send a byte now and then: they are given up in bounded time, and slow ones that get on are not.

#![allow(missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::fake::{Fake, Script};
use common::slow::Drip;
use common::{described, opener, quick, read, repository, seeded};
use hone_contract::digest::Digest;
use hone_registry::hub::Name;
use hone_registry::{Client, Options, Pace, Repository, Retry};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Below the least rate, and above it.
const DRIP: Duration = ms(20);
const SLOW: Duration = Duration::from_micros(200);
/// Far more than every attempt of a test together may take.
const SOON: Duration = Duration::from_secs(20);

/// At least 200 bytes a second.
fn client() -> Client {
    let pace = Pace { least: 20, window: ms(100), document: ms(300) };
    let retry = Retry { attempts: 3, ..quick() };
    Client::new(Options { retry, pace, ..Options::default() })
}

fn start(drips: Vec<Drip>) -> (Fake, Repository) {
    let fake = Fake::start(Script { drips, ..Script::default() });
    let repository = repository(&client(), &fake.host, "team/a");
    (fake, repository)
}

#[test]
fn a_download_that_drips_goes_on_over_another_connection() {
    let begun = Instant::now();
    let (fake, repository) = start(vec![Drip::Body(DRIP), Drip::Body(DRIP)]);
    let bytes = seeded(5000);
    fake.put_blob(&bytes);
    assert!(read(repository.blob(&described(&bytes), 0).expect("open")).expect("pull") == bytes);
    let ranges: Vec<_> = fake.state().seen.iter().filter_map(|s| s.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!(begun.elapsed() < SOON);
}

#[test]
fn a_download_that_always_drips_is_given_up() {
    let begun = Instant::now();
    let (fake, repository) = start(vec![Drip::Body(DRIP); 9]);
    let bytes = seeded(5000);
    fake.put_blob(&bytes);
    fake.state().files.insert("/m".into(), bytes.clone());
    let said = read(repository.blob(&described(&bytes), 0).expect("open")).expect_err("too slow").to_string();
    assert!(said.contains("too slow"), "{said}");
    assert_eq!(fake.count("GET"), 3, "attempts are bounded");
    let url = format!("http://{}/m", fake.host);
    assert!(read(client().download(&url).expect("url").open(0).expect("open")).is_err());
    assert!(begun.elapsed() < SOON);
}

#[test]
fn a_download_that_is_slow_and_gets_on_is_waited_for() {
    let (fake, repository) = start(vec![Drip::Body(SLOW)]);
    let bytes = seeded(4000);
    fake.put_blob(&bytes);
    let begun = Instant::now();
    assert!(read(repository.blob(&described(&bytes), 0).expect("open")).expect("pull") == bytes);
    assert!(begun.elapsed() > ms(300), "longer than a document may take, or this test shows nothing");
    assert_eq!(fake.count("GET"), 1);
}

#[test]
fn documents_that_drip_are_given_up() {
    let endless = [Drip::Head(DRIP), Drip::Body(DRIP), Drip::Trailer(DRIP), Drip::Trailer(Duration::ZERO)];
    std::thread::scope(|scope| {
        for drip in endless {
            scope.spawn(move || document_that_drips(drip));
        }
    });
}

fn document_that_drips(drip: Drip) {
    let begun = Instant::now();
    let (fake, repository) = start(vec![drip; 9]);
    fake.state().manifests.insert("v1".into(), ("x".into(), vec![b' '; 5000]));
    fake.state().files.insert("/api/models/o/m/revision/main".into(), vec![b' '; 5000]);
    assert!(repository.manifest("v1").is_err(), "{drip:?}");
    assert_eq!(fake.count("GET"), 3, "{drip:?}: attempts are bounded");
    let hub = client().hub(&format!("http://{}", fake.host), None).expect("hub");
    assert!(hub.model(&"hf://o/m".parse::<Name>().expect("name")).is_err(), "{drip:?}");
    fake.state().script.referrers = true;
    // So short a list comes even a byte at a time.
    assert!(matches!(drip, Drip::Body(_)) || repository.referrers(Digest::of(b"x")).is_err(), "{drip:?}");
    assert!(begun.elapsed() < SOON, "{drip:?}: {:?}", begun.elapsed());
}

#[test]
fn a_document_has_a_bound_in_all_at_any_pace() {
    let begun = Instant::now();
    // Fast enough at every moment, and without an end in sight.
    let (fake, repository) = start(vec![Drip::Body(SLOW); 9]);
    fake.state().manifests.insert("v1".into(), ("x".into(), vec![b' '; 100_000]));
    let said = repository.manifest("v1").expect_err("too long").to_string();
    assert!(said.contains("breaks off") && said.contains("timeout"), "{said}");
    assert!(begun.elapsed() < SOON);
}

#[test]
fn a_token_service_that_drips_is_given_up() {
    for drip in [Drip::Head(DRIP), Drip::Body(DRIP)] {
        let begun = Instant::now();
        let script = Script { token_uses: Some(9), drips: vec![drip; 9], ..Script::default() };
        let fake = Fake::start(script);
        let repository = repository(&client(), &fake.host, "team/a");
        // 404 would be the answer of who had a token.
        assert_eq!(repository.manifest("x").expect_err("given up").status(), None, "{drip:?}");
        assert!(begun.elapsed() < SOON, "{drip:?}");
    }
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let begun = Instant::now();
    let fake = Fake::start(Script { stall_up: Some(2 * SOON), ..Script::default() });
    // More than the sockets between us take; the least rate is one at which it goes over at once.
    let bytes = seeded(16 << 20);
    let pace = Pace { least: 1 << 30, window: ms(100), document: ms(300) };
    let options = Options { retry: Retry { attempts: 3, ..quick() }, pace, ..Options::default() };
    let repository = repository(&Client::new(options), &fake.host, "team/a");
    let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ());
    assert!(pushed.is_err(), "{pushed:?}");
    assert!(fake.count("PATCH") + fake.count("PUT") >= 3, "it is tried again");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_takes_nothing_of_what_the_sockets_hold_is_given_up() {
    let begun = Instant::now();
    let fake = Fake::start(Script { stall_up: Some(2 * SOON), ..Script::default() });
    let bytes = seeded(10_000);
    let pace = Pace { document: ms(100), ..Pace::default() };
    let options = Options { retry: Retry { attempts: 2, ..quick() }, pace, ..Options::default() };
    let repository = repository(&Client::new(options), &fake.host, "team/a");
    let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ());
    assert!(pushed.is_err(), "{pushed:?}");
    assert_eq!(fake.count("PUT"), 2, "it is tried again");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_refusal_that_drips_is_a_refusal() {
    let begun = Instant::now();
    let fake = Fake::start(Script { drip_refusals: Some(DRIP), ..Script::default() });
    let repository = repository(&client(), &fake.host, "team/a");
    assert_eq!(repository.manifest("v1").expect_err("not there").status(), Some(404));
    assert!(begun.elapsed() < SOON);
}
