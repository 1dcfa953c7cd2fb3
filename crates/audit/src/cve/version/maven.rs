//! Maven's order of versions, as its documentation of `ComparableVersion` gives it: digits and words alternate,
//! `-` and every change between the two open an inner list, and some words have a place of their own. As there,
//! the order is not transitive for odd texts, so nothing may be sorted by it.

use std::cmp::Ordering;

/// Inner lists are one in the other; deeper ones are read flat, so that no text exhausts the stack.
const MAX_DEPTH: usize = 64;

/// Words before and after a release, in their order; unknown ones are after all of them.
const QUALIFIERS: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE: usize = 5;

#[derive(Debug, Clone)]
pub(crate) struct Version(Vec<Item>);

#[derive(Debug, Clone)]
enum Item {
    /// Digits without leading zeros; none is 0.
    Number(Box<str>),
    Word(Box<str>),
    List(Vec<Item>),
}

impl Version {
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let mut lists: Vec<Vec<Item>> = vec![Vec::new()];
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let digits = rest.starts_with(|c: char| c.is_ascii_digit());
            let end = rest.find(|c: char| matches!(c, '.' | '-') || c.is_ascii_digit() != digits);
            let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
            let before_digit = after.starts_with(|c: char| c.is_ascii_digit());
            push(&mut lists, item(token, digits, before_digit));
            let separator = after.strip_prefix(['.', '-']);
            if (after.starts_with('-') || separator.is_none()) && !after.is_empty() && lists.len() < MAX_DEPTH
            {
                lists.push(Vec::new());
            }
            rest = separator.unwrap_or(after);
        }
        while lists.len() > 1 {
            // The loop's condition says that there are two.
            let mut inner = lists.pop().unwrap_or_default();
            normalize(&mut inner);
            push(&mut lists, Item::List(inner));
        }
        let mut items = lists.pop().unwrap_or_default();
        normalize(&mut items);
        Self(items)
    }
}

fn push(lists: &mut [Vec<Item>], item: Item) {
    if let Some(list) = lists.last_mut() {
        list.push(item);
    }
}

fn item(token: &str, digits: bool, before_digit: bool) -> Item {
    if digits || token.is_empty() {
        return Item::Number(token.trim_start_matches('0').into());
    }
    Item::Word(
        match (token, before_digit) {
            ("a", true) => "alpha",
            ("b", true) => "beta",
            ("m", true) => "milestone",
            ("ga" | "final" | "release", _) => "",
            ("cr", _) => "rc",
            _ => token,
        }
        .into(),
    )
}

/// Drops what says nothing at the end of a list, and before the lists at its end.
fn normalize(items: &mut Vec<Item>) {
    let mut at = items.len();
    while at > 0 {
        at -= 1;
        if items[at].is_null() {
            items.remove(at);
        } else if !matches!(items[at], Item::List(_)) {
            break;
        }
    }
}

/// Place of a word: known ones by number, then the others by name.
fn place(word: &str) -> (usize, &str) {
    match QUALIFIERS.iter().position(|known| *known == word) {
        Some(at) => (at, ""),
        None => (QUALIFIERS.len(), word),
    }
}

impl Item {
    fn is_null(&self) -> bool {
        match self {
            Self::Number(digits) => digits.is_empty(),
            Self::Word(word) => word.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    /// Against an item that is not there.
    fn cmp_nothing(&self) -> Ordering {
        match self {
            Self::Number(digits) => digits.len().cmp(&0),
            Self::Word(word) => place(word).cmp(&(RELEASE, "")),
            Self::List(items) => items
                .iter()
                .map(Self::cmp_nothing)
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Word(_) => 0,
            Self::List(_) => 1,
            Self::Number(_) => 2,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Word(a), Self::Word(b)) => place(a).cmp(&place(b)),
            (Self::List(a), Self::List(b)) => cmp_lists(a, b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

fn cmp_lists(a: &[Item], b: &[Item]) -> Ordering {
    (0..a.len().max(b.len()))
        .map(|at| match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => a.order(b),
            (Some(a), None) => a.cmp_nothing(),
            (None, Some(b)) => b.cmp_nothing().reverse(),
            (None, None) => Ordering::Equal,
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_lists(&self.0, &other.0)
    }
}
