//! PEP 440: versions of Python packages.

/// The fields are in the order in which they decide, each so that a derived order is PEP 440's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    epoch: u64,
    /// Without zeros at the end.
    release: Vec<u64>,
    pre: Pre,
    post: Option<u64>,
    dev: Dev,
    local: Option<Vec<Local>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    /// Neither a pre- nor a post-release, but one in development: before every pre-release.
    Development,
    Alpha(u64),
    Beta(u64),
    Candidate(u64),
    Final,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dev {
    Number(u64),
    None,
}

/// A part of a local version; words are before numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Word(Box<str>),
    Number(u64),
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (public, local) = match text.split_once('+') {
            Some((public, local)) => (public, Some(local)),
            None => (text.as_str(), None),
        };
        let mut rest = Rest(public.strip_prefix('v').unwrap_or(public));
        let mut epoch = 0;
        let mut release = vec![rest.number()?];
        if rest.take("!") {
            epoch = release[0];
            release = vec![rest.number()?];
        }
        while rest.dot_and_digit() {
            release.push(rest.number()?);
        }
        while release.last() == Some(&0) {
            release.pop();
        }
        let pre = rest.pre();
        let post = rest.post();
        let dev = rest.dev();
        if !rest.0.is_empty() {
            return None;
        }
        Some(Self {
            epoch,
            release,
            pre: match (pre, post, dev) {
                (Some(pre), _, _) => pre,
                (None, None, Dev::Number(_)) => Pre::Development,
                _ => Pre::Final,
            },
            post,
            dev,
            local: match local {
                Some(local) => Some(local.split(['.', '-', '_']).map(part).collect::<Option<_>>()?),
                None => None,
            },
        })
    }
}

fn part(text: &str) -> Option<Local> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(
        text.parse()
            .map_or_else(|_| Local::Word(text.into()), Local::Number),
    )
}

/// What is left to read.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn take(&mut self, word: &str) -> bool {
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn number(&mut self) -> Option<u64> {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(end);
        let number = digits.parse().ok()?;
        self.0 = rest;
        Some(number)
    }

    /// Takes the dot before a further number of the release.
    fn dot_and_digit(&mut self) -> bool {
        let digit = self
            .0
            .strip_prefix('.')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        self.0 = digit.unwrap_or(self.0);
        digit.is_some()
    }

    /// One of `words` with an optional separator before and after it, and the number that follows, 0 if none.
    /// Longer words stand before their beginnings.
    fn segment<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<(T, u64)> {
        let start = self.0.strip_prefix(['.', '-', '_']).unwrap_or(self.0);
        let (rest, kind) = words
            .iter()
            .find_map(|(word, kind)| Some((start.strip_prefix(word)?, *kind)))?;
        self.0 = rest;
        let after = rest.strip_prefix(['.', '-', '_']).unwrap_or(rest);
        if after.starts_with(|c: char| c.is_ascii_digit()) {
            self.0 = after;
        }
        Some((kind, self.number().unwrap_or(0)))
    }

    fn pre(&mut self) -> Option<Pre> {
        let words = [
            ("alpha", Pre::Alpha as fn(u64) -> Pre),
            ("a", Pre::Alpha),
            ("beta", Pre::Beta),
            ("b", Pre::Beta),
            ("preview", Pre::Candidate),
            ("pre", Pre::Candidate),
            ("rc", Pre::Candidate),
            ("c", Pre::Candidate),
        ];
        self.segment(&words).map(|(kind, number)| kind(number))
    }

    fn post(&mut self) -> Option<u64> {
        // `1.0-1` is the first post-release of 1.0.
        if let Some(rest) = self
            .0
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.0 = rest;
            return self.number();
        }
        let words = [("post", ()), ("rev", ()), ("r", ())];
        self.segment(&words).map(|((), number)| number)
    }

    fn dev(&mut self) -> Dev {
        self.segment(&[("dev", ())])
            .map_or(Dev::None, |((), number)| Dev::Number(number))
    }
}
