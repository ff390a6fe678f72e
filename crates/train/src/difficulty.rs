//! How hard a text is to predict, before any network has seen it: bits for each byte under counts of pairs of tokens.
//!
//! The law of [`crate::dial`] holds for the text of its study; of another text a run is expected to reach as much more or less as its pairs have
//! more or less bits.

use pupil_data::{Error, Examples, Row};
use pupil_model::NGram;

/// Tokens that are counted at most, and on which the counts are judged: half a second.
const COUNTED: usize = 1_000_000;
const JUDGED: usize = 20_000;

/// Bits for each byte of the validation text under an interpolated Kneser–Ney model of pairs that was counted on the training text; `None` if
/// nothing is held out.
///
/// # Errors
/// If the examples cannot be read.
pub fn pairs(
    train: &dyn Examples,
    validation: &dyn Examples,
    id_bytes: &[u32],
    row_tokens: usize,
) -> Result<Option<f64>, Error> {
    if train.tokens() == 0 || validation.tokens() == 0 {
        return Ok(None);
    }
    let counted = some(train, row_tokens, COUNTED)?;
    let model = NGram::count(2, id_bytes.len(), counted.iter().map(|s| s.ids.as_slice()));
    let (mut bits, mut bytes) = (0.0, 0u64);
    for s in some(validation, row_tokens, JUDGED)? {
        for (i, pair) in s.ids.windows(2).enumerate() {
            if s.learned[i] {
                bits -= model.probability(&pair[..1], pair[1]).log2();
                bytes += u64::from(id_bytes.get(pair[1] as usize).copied().unwrap_or(0));
            }
        }
    }
    let result = bits / bytes as f64;
    Ok((bytes > 0 && result.is_finite() && result > 0.0).then_some(result))
}

/// A sequence, and which of its ids are to be predicted from the one before.
struct Sequence {
    ids: Vec<u32>,
    learned: Vec<bool>,
}

/// Sequences of the first rows, about `most` tokens.
fn some(examples: &dyn Examples, row_tokens: usize, most: usize) -> Result<Vec<Sequence>, Error> {
    let (mut rows, mut row) = (examples.rows(row_tokens, 0), Row::default());
    let (mut list, mut read) = (Vec::new(), 0);
    while read < most && rows.position().epoch == 0 {
        rows.next(&mut row)?;
        for span in &row.spans {
            let mut ids = row.ids[span.clone()].to_vec();
            let last = span.end.checked_sub(1).map(|l| row.targets[l]);
            ids.extend(last);
            list.push(Sequence {
                ids,
                learned: row.weights[span.clone()].iter().map(|w| *w > 0.0).collect(),
            });
        }
        read += row.ids.len();
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use pupil_data::Items;

    use super::*;

    #[test]
    fn regular_text_is_easier_than_noise() {
        let text = |step: u32| {
            let mut items = Items::default();
            for d in 0..40u32 {
                let mut x = d + 1;
                let ids: Vec<u32> = (0..60)
                    .map(|i| {
                        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if step == 0 { x >> 26 } else { (d + i * step) % 64 }
                    })
                    .collect();
                items.push_document(&ids, 64);
            }
            items
        };
        let of = |items: &Items| pairs(items, items, &[1; 64], 128).unwrap().unwrap();
        let (regular, noise) = (of(&text(3)), of(&text(0)));
        assert!(regular < 0.5 && noise > 3.0 && noise < 6.5, "{regular} {noise}");
        assert_eq!(pairs(&text(1), &Items::default(), &[1; 64], 128).unwrap(), None);
    }
}
