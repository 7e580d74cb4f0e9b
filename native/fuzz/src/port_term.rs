//! A frame of `accept-queue port`, as far as the term in it.

// The program is no library; this file of it depends on nothing else.
#[path = "../../cli/src/port/etf.rs"]
mod etf;

use etf::Term;

pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(term) = Term::decode(bytes) {
        // Compared as bytes: a NaN is not equal to itself.
        let encoded = term.encode();
        let again = Term::decode(&encoded).expect("what was decoded can be encoded");
        assert_eq!(again.encode(), encoded);
    }
}
