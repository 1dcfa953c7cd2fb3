//! How a client behaves.

use std::time::Duration;

use crate::{Proxies, TrustRoots};

/// Settings of a [`crate::Client`]. The caller reads them from its flags, files and environment.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Sent with every request.
    pub user_agent: String,
    /// Refuse every request with [`crate::FetchError::Offline`].
    pub offline: bool,
    /// For looking a name up and connecting, together.
    pub connect_timeout: Duration,
    /// For each wait for the server, once connected: a slow transfer is fine, silence is not.
    pub read_timeout: Duration,
    /// What happens after transient errors.
    pub retry: RetryPolicy,
    /// Whom to trust.
    pub roots: TrustRoots,
    /// Which proxies to use.
    pub proxies: Proxies,
    /// How many redirects to follow.
    pub max_redirects: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("distil/", env!("CARGO_PKG_VERSION")).to_owned(),
            offline: false,
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            roots: TrustRoots::default(),
            proxies: Proxies::default(),
            max_redirects: 10,
        }
    }
}

/// How often and how fast to try again.
///
/// Tried again are: connections that broke or fell silent, answers that break off, and the statuses 408, 429,
/// 500, 502, 503 and 504. A server that is silent is asked twice at most. Never: any other status, TLS errors, and hosts that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; 1 is no retry. In a download, tries since the last byte that arrived.
    pub attempts: u32,
    /// Pause before the second try; doubled each time.
    pub first_delay: Duration,
    /// Longest pause. A server that asks for more (`Retry-After`) gets no further try.
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// One try only.
    pub const NONE: Self = Self {
        attempts: 1,
        first_delay: Duration::ZERO,
        max_delay: Duration::ZERO,
    };

    /// The pause after try number `attempt` (from 1), or `None` for giving up. `asked` is what the server wants.
    pub(crate) fn delay(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts || asked.is_some_and(|asked| asked > self.max_delay) {
            return None;
        }
        let own = self
            .first_delay
            .saturating_mul(1 << (attempt - 1).min(16))
            .min(self.max_delay);
        Some(asked.map_or(own, |asked| asked.max(own)))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let policy = RetryPolicy {
            attempts: 9,
            ..RetryPolicy::default()
        };
        let millis = |attempt| policy.delay(attempt, None).map(|delay| delay.as_millis());
        assert_eq!(
            [millis(1), millis(2), millis(8), millis(9)],
            [Some(200), Some(400), Some(10_000), None]
        );
        assert_eq!(
            policy.delay(1, Some(Duration::from_secs(2))),
            Some(Duration::from_secs(2))
        );
        assert_eq!(policy.delay(1, Some(Duration::from_secs(11))), None);
        assert_eq!(RetryPolicy::NONE.delay(1, None), None);
    }
}
