//! Columns of text, aligned.

use std::fmt::Write;

/// `rows` under `head`, each column as wide as its widest cell.
pub(super) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let mut out = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            let pad = width - cell.chars().count();
            let _ = write!(out, "{cell}{:pad$}  ", "");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    line(head);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["x/a".to_owned(), "1".to_owned()], ["long-name/b".to_owned(), "22".to_owned()]];
        assert_eq!(super::render(["POD", "N"], &rows), "POD          N\nx/a          1\nlong-name/b  22\n");
    }
}
