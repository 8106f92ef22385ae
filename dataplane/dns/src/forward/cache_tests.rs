//! The cache on made-up time.

use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::{A, CNAME, SOA};

use super::*;

fn question(name: &str) -> Question {
    Question::new(&Key::parse(name).unwrap(), RecordType::A, false, false)
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn address(ttl: u32) -> Record {
    Record::from_rdata(name("a.example."), ttl, RData::A(A([192, 0, 2, 1].into())))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.example."), name("host.example."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name("example."), ttl, RData::SOA(soa))
}

fn said(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Arc<Said> {
    Arc::new(Said { code, answers, authorities, ..Said::failure() })
}

/// Seconds for which the answer is found again.
fn kept(said: &Arc<Said>) -> Option<u64> {
    let start = Instant::now();
    let mut cache = Cache::new(8);
    cache.put(question("a.example"), said, start);
    let found = |second| cache.get(&question("a.example"), start + Duration::from_secs(second)).is_some();
    let end = (0..=4000).find(|second| !found(*second)).unwrap();
    (end > 0).then_some(end)
}

#[test]
fn how_long_answers_are_kept() {
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    let alias = Record::from_rdata(name("a.example."), 4, RData::CNAME(CNAME(name("b.example."))));
    let rows = [
        ("the smallest TTL", said(NoError, vec![address(30), address(20)], vec![]), Some(20)),
        ("an hour at most", said(NoError, vec![address(90_000)], vec![]), Some(3600)),
        ("TTL 0", said(NoError, vec![address(0)], vec![]), None),
        ("no such name", said(NXDomain, vec![], vec![soa(60, 10)]), Some(10)),
        ("no such name, SOA's own TTL", said(NXDomain, vec![], vec![soa(5, 10)]), Some(5)),
        ("five minutes at most", said(NXDomain, vec![], vec![soa(9000, 9000)]), Some(300)),
        ("no such name without SOA", said(NXDomain, vec![], vec![]), None),
        ("no data", said(NoError, vec![], vec![soa(60, 10)]), Some(10)),
        ("no data without SOA", said(NoError, vec![], vec![]), None),
        ("alias to a name without data", said(NoError, vec![alias], vec![soa(60, 10)]), Some(4)),
        ("failure", said(ServFail, vec![], vec![]), Some(1)),
        ("refused", said(Refused, vec![], vec![soa(60, 10)]), None),
        ("very many records", said(NoError, vec![address(30); 200], vec![]), None),
    ];
    for (what, said, seconds) in rows {
        assert_eq!(kept(&said), seconds, "{what}");
    }
}

#[test]
fn ttls_count_down() {
    let start = Instant::now();
    let mut cache = Cache::new(8);
    cache.put(question("a.example"), &said(ResponseCode::NoError, vec![address(30)], vec![]), start);
    let found = cache.get(&question("a.example"), start + Duration::from_secs(12)).unwrap();
    assert_eq!(found.answers[0].ttl, 18);
}

#[test]
fn questions_differ_by_type_and_flags_but_not_by_case() {
    let now = Instant::now();
    let mut cache = Cache::new(8);
    let key = Key::parse("a.example").unwrap();
    cache.put(question("A.Example."), &said(ResponseCode::NoError, vec![address(30)], vec![]), now);
    assert!(cache.get(&question("a.example"), now).is_some());
    for other in [
        Question::new(&key, RecordType::AAAA, false, false),
        Question::new(&key, RecordType::A, true, false),
        Question::new(&key, RecordType::A, false, true),
    ] {
        assert!(cache.get(&other, now).is_none(), "{other:?}");
    }
}

#[test]
fn a_full_cache_drops_what_ends_first() {
    let now = Instant::now();
    let mut cache = Cache::new(2);
    let put = |cache: &mut Cache, name, ttl| {
        cache.put(question(name), &said(ResponseCode::NoError, vec![address(ttl)], vec![]), now);
    };
    put(&mut cache, "long", 100);
    put(&mut cache, "short", 10);
    put(&mut cache, "short", 20);
    put(&mut cache, "middle", 50);
    let held = ["long", "short", "middle"].map(|name| cache.get(&question(name), now).is_some());
    assert_eq!(held, [true, false, true]);
    assert_eq!((cache.entries.len(), cache.ends.len()), (2, 2));
    cache.clear();
    assert!(cache.get(&question("long"), now).is_none());
}
