//! Columns of text, aligned.

use std::fmt::Write;

/// `rows` under `head`, each column as wide as its widest cell.
pub(super) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    render_columns(&head, rows)
}

/// The same, where the number of columns is not known beforehand.
pub(super) fn render_columns(head: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (cell, width) in cells.zip(&widths) {
            let pad = width - cell.chars().count();
            let _ = write!(out, "{cell}{:pad$}  ", "");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.as_ref().iter().map(String::as_str));
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
