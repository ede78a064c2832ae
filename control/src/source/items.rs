//! The items of a `List`, as `kubectl get -o yaml` writes it, each as a text of its own.
//!
//! A list of all policies is one document, and an edit of one of them would have all of them read again.
//! Where the items stand as a block sequence under `items`, each is such a sequence by itself, and what
//! is read of it alone is what is read of it in the whole: a text that ends in the middle of a string or
//! bracket is refused, and so is an alias of what stands in another. Whatever does not fit is read whole.

use super::manifest::{How, Reading};
use super::tree::{self, Value};

/// A `List`, taken apart.
pub(super) struct List<'a> {
    pub(super) implied: Implied,
    pub(super) items: Vec<Item<'a>>,
}

/// `apiVersion` and `kind`.
pub(super) type Kind = (&'static str, &'static str);

/// What an item is that does not say it itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Implied {
    /// In a `PodList`, a Pod.
    Kind(Kind),
    /// Every item has to say it.
    Nothing,
}

/// One item: a block sequence of one.
pub(super) struct Item<'a> {
    pub(super) text: &'a str,
    /// Lines of the document before it.
    pub(super) lines_before: u64,
}

impl<'a> List<'a> {
    /// Takes `document` apart; `None` if it is no list, or not written so.
    pub(super) fn of(document: &'a str) -> Option<Self> {
        let mut lines = document.split_inclusive('\n');
        let mut head = String::new();
        let (mut at, mut number) = (0, 0);
        for line in lines.by_ref() {
            (at, number) = (at + line.len(), number + 1);
            if line.trim_end() == "items:" {
                break;
            }
            head.push_str(line);
        }
        let mut items: Vec<Item<'a>> = Vec::new();
        let mut indent = None;
        let (mut start, mut lines_before) = (at, number);
        for line in lines {
            let content = line.trim_start_matches(' ');
            let depth = line.len() - content.len();
            let is_blank = content.trim().is_empty() || content.starts_with('#');
            if !is_blank
                && content.split_whitespace().next() == Some("-")
                && indent.is_none_or(|indent| depth == indent)
            {
                if indent.replace(depth).is_some() {
                    items.push(Item { text: &document[start..at], lines_before });
                    (start, lines_before) = (at, number);
                }
            } else if !is_blank && depth == 0 {
                break;
            }
            (at, number) = (at + line.len(), number + 1);
        }
        indent?;
        items.push(Item { text: &document[start..at], lines_before });
        head.push_str("items: []\n");
        head.push_str(&document[at..]);
        Some(Self { implied: super::manifest::implied(&tree::parse(&head).ok()?)?, items })
    }
}

impl Item<'_> {
    /// What it says; `None` if it is not one item by itself.
    pub(super) fn read(&self, implied: Implied, how: How) -> Option<Reading> {
        match tree::parse(self.text).ok()?.value {
            Value::List(list) => match &list[..] {
                [item] => Some(super::manifest::read_item(item, implied, how)),
                _ => None,
            },
            _ => None,
        }
    }
}
