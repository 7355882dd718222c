//! Numbers in columns, for people.

/// A table whose first column is text and whose others are numbers; the last
/// row may be a total, set off by a line.
pub fn render(header: &[&str], rows: &[Vec<String>], last_is_total: bool) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from(" ");
        for (column, (cell, &width)) in cells.zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match column {
                0 => text.extend([" ", cell, &padding]),
                _ => text.extend(["  ", &padding, cell]),
            }
        }
        text.push('\n');
        text
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut text = line(&mut header.iter().copied());
    text += &line(&mut rule.iter().map(String::as_str));
    for (index, row) in rows.iter().enumerate() {
        if last_is_total && index + 1 == rows.len() {
            text += &line(&mut rule.iter().map(String::as_str));
        }
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// 1234567 as `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1000), "1,000");
        assert_eq!(number(1_234_567), "1,234,567");
    }

    #[test]
    fn columns_line_up_and_the_total_is_set_off() {
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["total".to_owned(), "9".to_owned()],
        ];
        assert_eq!(
            render(&["source", "n"], &rows, true),
            "  source   n\n  ------  --\n  a       10\n  ------  --\n  total    9\n"
        );
    }
}
