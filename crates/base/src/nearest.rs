//! What someone who mistyped a name may have meant.

/// The name of `known` that differs least from `name`, when it is near enough to
/// be a slip of the hand: at most a third of its length, and at most three
/// letters. Of several the first.
pub(crate) fn of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn finds_slips() {
        let known = ["packages", "symlinks", "user", "files"];
        for (name, expected) in [
            ("package", Some("packages")),
            ("pakcages", Some("packages")),
            ("usr", Some("user")),
            ("simlinks", Some("symlinks")),
            ("entrypoint", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(of(name, known), expected, "{name}");
        }
    }
}
