//! What upstreams said, kept as long as they allow (RFC 1035, RFC 2308 for names that do not exist), bounded
//! in number and size. Pure: the time comes in as an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::key::Key;
use crate::message::{Body, Request};

/// Nothing is kept longer than this, whatever an upstream says.
const TTL_MAX: u32 = 3600;
/// Names that do not exist are not kept longer than this: people create them and try again.
const NEGATIVE_TTL_MAX: u32 = 300;
/// How long nobody is asked again after all upstreams failed (RFC 9520 section 3.2: at least a second).
const FAILURE_TTL: u32 = 1;
/// An answer with more records than this is passed on and not kept.
const RECORDS_MAX: usize = 128;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    name: Box<[u8]>,
    kind: RecordType,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Question {
    /// The question in a request.
    pub fn of(request: &Request) -> Self {
        Self::new(
            &request.key,
            request.query.query_type,
            request.edns.is_some_and(|edns| edns.dnssec_ok),
            request.metadata.checking_disabled,
        )
    }

    fn new(name: &Key, kind: RecordType, dnssec_ok: bool, checking_disabled: bool) -> Self {
        Self { name: name.as_bytes().into(), kind, dnssec_ok, checking_disabled }
    }
}

/// What upstreams said to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The code.
    pub code: ResponseCode,
    authentic: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Said {
    /// Nobody had an answer.
    pub fn failure() -> Self {
        Self {
            code: ResponseCode::ServFail,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// As it is sent on.
    pub fn body(&self) -> Body<'_> {
        Body {
            code: self.code,
            authoritative: false,
            authentic: self.authentic,
            answers: &self.answers,
            authorities: &self.authorities,
            additionals: &self.additionals,
        }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.answers.iter().chain(&self.authorities).chain(&self.additionals)
    }

    fn older_by(&self, seconds: u32) -> Self {
        let mut said = self.clone();
        for record in said.answers.iter_mut().chain(&mut said.authorities).chain(&mut said.additionals) {
            record.ttl = record.ttl.saturating_sub(seconds);
        }
        said
    }

    /// Seconds that it may be kept for; `None` for what must not be kept.
    fn keep_for(&self, kind: RecordType) -> Option<u32> {
        match self.code {
            ResponseCode::ServFail => Some(FAILURE_TTL),
            ResponseCode::NoError if self.answers.iter().any(|record| record.record_type() == kind) => {
                self.records().map(|record| record.ttl).min().map(|ttl| ttl.min(TTL_MAX))
            }
            ResponseCode::NoError | ResponseCode::NXDomain => self.keep_negative_for(),
            _ => None,
        }
    }

    /// RFC 2308 section 5: the smaller of the SOA record's TTL and its MINIMUM; without one it is not kept.
    fn keep_negative_for(&self) -> Option<u32> {
        let soa = self.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })?;
        let aliases = self.answers.iter().map(|record| record.ttl);
        Some(aliases.fold(soa, u32::min).min(NEGATIVE_TTL_MAX))
    }
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self {
            code: message.metadata.response_code,
            authentic: message.metadata.authentic_data,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }
}

/// A bounded cache.
#[derive(Debug)]
pub struct Cache {
    capacity: usize,
    entries: HashMap<Question, Entry>,
    /// Entries by the time at which they end, then by the order in which they came.
    ends: BTreeMap<(Instant, u64), Question>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    said: Arc<Said>,
    stored: Instant,
    end: (Instant, u64),
}

impl Cache {
    /// A cache of at most `capacity` answers.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), ends: BTreeMap::new(), count: 0 }
    }

    /// What is known about the question, its TTLs less the time that it was kept.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Said> {
        let entry = self.entries.get(question).filter(|entry| entry.end.0 > now)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        Some(entry.said.older_by(u32::try_from(age).unwrap_or(u32::MAX)))
    }

    /// Keeps an answer, if it may be kept. When the cache is full, what ends first goes.
    pub fn put(&mut self, question: Question, said: &Arc<Said>, now: Instant) {
        let Some(seconds) = said.keep_for(question.kind) else { return };
        if seconds == 0 || self.capacity == 0 || said.records().count() > RECORDS_MAX {
            return;
        }
        self.remove(&question);
        while self.entries.len() >= self.capacity {
            let Some((_, oldest)) = self.ends.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        self.count += 1;
        let end = (now + Duration::from_secs(seconds.into()), self.count);
        self.ends.insert(end, question.clone());
        self.entries.insert(question, Entry { said: Arc::clone(said), stored: now, end });
    }

    /// Forgets everything, because others are asked from now on.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ends.clear();
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.ends.remove(&entry.end);
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
