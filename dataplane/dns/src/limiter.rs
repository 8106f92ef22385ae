//! How much may be under way at once, for all and for each client, so that one who asks without end does not
//! take the others' answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out slots.
#[derive(Debug, Clone)]
pub struct Limiter {
    total: usize,
    each: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    each: HashMap<IpAddr, usize>,
}

/// One slot, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    client: IpAddr,
    used: Arc<Mutex<Used>>,
}

impl Limiter {
    /// At most `total` slots, and at most `each` for one client.
    pub fn new(total: usize, each: usize) -> Self {
        Self { total, each, used: Arc::default() }
    }

    /// A slot for this client, if one is free.
    pub fn take(&self, client: IpAddr) -> Option<Slot> {
        let mut used = lock(&self.used);
        let mine = used.each.get(&client).copied().unwrap_or(0);
        if used.total >= self.total || mine >= self.each {
            return None;
        }
        used.total += 1;
        used.each.insert(client, mine + 1);
        Some(Slot { client, used: Arc::clone(&self.used) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        used.total = used.total.saturating_sub(1);
        if let Some(mine) = used.each.get_mut(&self.client) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                used.each.remove(&self.client);
            }
        }
    }
}

/// The numbers are whole after every statement, so a panic elsewhere does not spoil them.
fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_for_each_and_for_all() {
        let limiter = Limiter::new(3, 2);
        let [a, b] = [1_u8, 2].map(|last| IpAddr::from([198, 18, 0, last]));
        let first = limiter.take(a).unwrap();
        let _second = limiter.take(a).unwrap();
        assert!(limiter.take(a).is_none(), "two for one client");
        let third = limiter.take(b).unwrap();
        assert!(limiter.take(b).is_none(), "three in all");
        drop(first);
        assert!(limiter.take(a).is_some());
        drop(third);
        assert_eq!(lock(&limiter.used).each.len(), 1, "a client without slots is forgotten");
    }
}
