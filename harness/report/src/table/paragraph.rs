//! Lines broken at spaces.

/// `text` in lines of at most `width` characters, the second and later ones indented by `indent`.
/// A word longer than a line stays whole: it may be a command or a path.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in printable(text).split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// Without control characters: names and values come from outside, and a terminal obeys escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stay_whole() {
        assert_eq!(wrap("aa bb cc dd", 5, 2), "aa bb\n  cc\n  dd");
        assert_eq!(wrap("short", 80, 2), "short");
        assert_eq!(wrap("red \u{1b}[31m", 80, 2), "red [31m");
        assert_eq!(wrap("a muchtoolongword b", 5, 0), "a\nmuchtoolongword\nb");
    }
}
