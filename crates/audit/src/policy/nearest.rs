//! What someone who mistyped a key or a rule may have meant.

/// The name of `known` that differs least from `name`, when it is near enough to
/// be a slip of the hand: at most a third of its length, and at most three
/// letters. Of several the first.
pub(super) fn of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, letter) in a.chars().enumerate() {
        let mut current = Vec::with_capacity(b.len() + 1);
        current.push(row + 1);
        for (column, other) in b.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != *other);
            let mut least = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = column > 0 && previous == Some(*other) && b[column - 1] == letter;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut last, current);
        previous = Some(letter);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn finds_slips() {
        let known = ["shell", "setuid", "severity", "paths"];
        for (name, expected) in [
            ("shel", Some("shell")),
            ("path", Some("paths")),
            ("sevreity", Some("severity")),
            ("interpreter", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(of(name, known), expected, "{name}");
        }
    }
}
