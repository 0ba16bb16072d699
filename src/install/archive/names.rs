//! Names of entries that are no Unicode: they are in the code page of the PC that packed them, and no archive says which.
//!
//! All names of an archive are in one. It is the one that alone fits them all: they can be decoded without an error, and
//! what comes out looks like names in a language that is written so. Where none does, or more than one, it is that of the
//! first PCs. Names are decoded before they are split: the second byte of a character may be a backslash.

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, IBM866, SHIFT_JIS, WINDOWS_1252};
use rars::filename::LegacyNameEncoding;

/// Below this many characters Korean cannot be told from Chinese: one's syllables are the other's commonest characters.
const ENOUGH: usize = 6;

/// The code page of an archive's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CodePage {
    Cp437,
    ShiftJis,
    Gbk,
    Big5,
    EucKr,
    Cp866,
    Windows1252,
}

/// Those that may be found; the first PCs' is what is left.
const CANDIDATES: [CodePage; 6] =
    [CodePage::ShiftJis, CodePage::Gbk, CodePage::Big5, CodePage::EucKr, CodePage::Cp866, CodePage::Windows1252];

impl CodePage {
    /// That of an archive with these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let foreign: Vec<&[u8]> = names.filter(|name| str::from_utf8(name).is_err()).collect();
        let fits: Vec<Self> = CANDIDATES.into_iter().filter(|page| page.fits(&foreign)).collect();
        match *fits {
            [page] => page,
            [Self::Gbk, Self::EucKr] => Self::chinese_or_korean(&foreign),
            _ => Self::Cp437,
        }
    }

    /// Korean syllables are Chinese characters as well, most of them common ones; the other way round it is every other one.
    fn chinese_or_korean(names: &[&[u8]]) -> Self {
        let (chinese, korean) = (Self::Gbk.evidence(names), Self::EucKr.evidence(names));
        match (chinese.rare, korean.rare) {
            (_, 0) if korean.characters >= ENOUGH => Self::EucKr,
            (0, 1..) => Self::Gbk,
            _ => Self::Cp437,
        }
    }

    /// A name as it was meant; Unicode is taken as it is.
    pub(super) fn decode(self, name: &[u8]) -> String {
        if let Ok(name) = str::from_utf8(name) {
            return name.to_owned();
        }
        let decoded = self.encoding().and_then(|e| e.decode_without_bom_handling_and_without_replacement(name));
        match decoded {
            Some(decoded) => decoded.into_owned(),
            // It has a character for every byte.
            None => {
                LegacyNameEncoding::Cp437.decode(name).unwrap_or_else(|_| String::from_utf8_lossy(name).into_owned())
            }
        }
    }

    fn encoding(self) -> Option<&'static Encoding> {
        match self {
            Self::Cp437 => None,
            Self::ShiftJis => Some(SHIFT_JIS),
            Self::Gbk => Some(GBK),
            Self::Big5 => Some(BIG5),
            Self::EucKr => Some(EUC_KR),
            Self::Cp866 => Some(IBM866),
            Self::Windows1252 => Some(WINDOWS_1252),
        }
    }

    fn fits(self, names: &[&[u8]]) -> bool {
        let decodes = |name: &&[u8]| {
            let decoded = self.encoding().and_then(|e| e.decode_without_bom_handling_and_without_replacement(name));
            decoded.is_some_and(|name| !name.chars().any(char::is_control))
        };
        !names.is_empty() && names.iter().all(decodes) && self.evidence(names).is_plausible(self)
    }

    fn evidence(self, names: &[&[u8]]) -> Evidence {
        let mut evidence = Evidence::default();
        for name in names {
            evidence.add(self, name);
        }
        evidence
    }

    /// What the first character is, and how many bytes it has.
    fn first(self, bytes: &[u8]) -> (Seen, usize) {
        match (self, bytes) {
            (_, [byte @ 0..=0x7f, ..]) if byte.is_ascii_alphabetic() => (Seen::Letter, 1),
            (_, [0..=0x7f, ..] | []) => (Seen::Other, 1),
            (Self::Cp866, [byte, ..]) => (Seen::common(matches!(byte, 0x80..=0xaf | 0xe0..=0xf1)), 1),
            // The sharp s of the first PCs is a letter here too, and says nothing.
            (Self::Windows1252, [byte, ..]) => {
                (Seen::common(matches!(byte, 0xc0..=0xd6 | 0xd8..=0xe0 | 0xe2..=0xf6 | 0xf8..=0xff)), 1)
            }
            // Half a character wide, as in the eighties.
            (Self::ShiftJis, [0xa1..=0xdf, ..]) => (Seen::Rare, 1),
            (_, [lead, trail, ..]) => (Seen::common(self.is_common(*lead, *trail)), 2),
            (_, [_]) => (Seen::Rare, 1),
        }
    }

    /// Whether a small Cyrillic letter stands before the capital at `at`, as in bytes that mean something else.
    fn is_rise(self, name: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|at| name.get(at));
        self == Self::Cp866 && matches!((before, name.get(at)), (Some(0xa0..=0xaf | 0xe0..=0xef), Some(0x80..=0x9f)))
    }

    /// Whether a character of two bytes is one of the few thousand that a language needs every day: each of these
    /// standards lists them first.
    fn is_common(self, lead: u8, trail: u8) -> bool {
        match self {
            // Marks; fullwidth letters and hiragana; katakana; characters of the first level.
            Self::ShiftJis => matches!(
                (lead, trail),
                (0x81, 0x40..=0x7e | 0x80..=0xac)
                    | (0x82, 0x4f..=0xf1)
                    | (0x83, 0x40..=0x96)
                    | (0x88, 0x9f..)
                    | (0x89..=0x97, _)
                    | (0x98, ..=0x72)
            ),
            Self::Gbk => matches!((lead, trail), (0xa1 | 0xa3 | 0xb0..=0xd7, 0xa1..=0xfe)),
            Self::EucKr => matches!((lead, trail), (0xa1 | 0xa3 | 0xb0..=0xc8, 0xa1..=0xfe)),
            Self::Big5 => matches!(lead, 0xa1 | 0xa4..=0xc6),
            Self::Cp437 | Self::Cp866 | Self::Windows1252 => false,
        }
    }
}

/// A character under some code page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Of ASCII.
    Letter,
    /// Of ASCII, and no letter.
    Other,
    /// Beyond ASCII, and as one expects.
    Common,
    /// Beyond ASCII, and unlikely in a name.
    Rare,
}

impl Seen {
    fn common(common: bool) -> Self {
        if common { Self::Common } else { Self::Rare }
    }

    fn is_foreign(self) -> bool {
        matches!(self, Self::Common | Self::Rare)
    }
}

/// What all names of an archive look like under some code page. A run: foreign characters without others between them.
#[derive(Clone, Copy, Default)]
struct Evidence {
    /// Beyond ASCII.
    characters: usize,
    rare: usize,
    runs: usize,
    /// Runs beside a letter of ASCII, and those of them that are one character long.
    touching: usize,
    touching_alone: usize,
    /// Characters whose second byte is one of ASCII.
    low_trails: usize,
}

impl Evidence {
    fn add(&mut self, page: CodePage, name: &[u8]) {
        let mut rest = name;
        let (mut before, mut run) = (Seen::Other, 0);
        let mut touches = false;
        while !rest.is_empty() {
            let (seen, len) = page.first(rest);
            if seen.is_foreign() {
                self.rare += usize::from(run > 0 && page.is_rise(name, name.len() - rest.len()));
                touches |= run == 0 && before == Seen::Letter;
                run += 1;
                self.characters += 1;
                self.rare += usize::from(seen == Seen::Rare);
                self.low_trails += usize::from(len == 2 && rest.get(1).is_some_and(u8::is_ascii));
            } else {
                self.end_run(run, touches || seen == Seen::Letter);
                (run, touches) = (0, false);
            }
            before = seen;
            rest = rest.get(len..).unwrap_or_default();
        }
        self.end_run(run, touches);
    }

    fn end_run(&mut self, run: usize, touches: bool) {
        if run > 0 {
            self.runs += 1;
            self.touching += usize::from(touches);
            self.touching_alone += usize::from(touches && run == 1);
        }
    }

    /// Whether names look like this. A letter of a western name stands alone among those of ASCII; read as half of a
    /// character of two bytes, it takes one of them with it.
    fn is_plausible(&self, page: CodePage) -> bool {
        let few = |count: usize, of: usize| count.saturating_mul(4) <= of;
        if page == CodePage::Windows1252 {
            return self.rare == 0 && self.touching_alone > 0 && self.touching_alone.saturating_mul(2) >= self.runs;
        }
        let strangers = if page == CodePage::Cp866 { self.touching } else { self.touching_alone };
        let likely = self.characters >= 2 && few(self.rare, self.characters) && few(strangers, self.runs);
        // Two of five characters have such a byte, where it is possible at all.
        likely && (page != CodePage::Big5 || self.low_trails > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(encoding: &'static Encoding, names: &[&str]) -> CodePage {
        let names: Vec<Vec<u8>> = names
            .iter()
            .map(|name| {
                let (bytes, _, replaced) = encoding.encode(name);
                assert!(!replaced, "{name}");
                bytes.into_owned()
            })
            .collect();
        let page = CodePage::of(names.iter().map(Vec::as_slice));
        if page != CodePage::Cp437 {
            for name in &names {
                let meant = encoding.decode_without_bom_handling_and_without_replacement(name).unwrap();
                assert_eq!(page.decode(name), meant);
            }
        }
        page
    }

    #[test]
    fn names_in_each_code_page_are_told_by_what_they_say() {
        let japanese: [&[&str]; 6] = [
            &["ソフト/game.txt"],
            &["ポケット/game.txt"],
            &["セーブデータ/第1章.sav", "readme.txt"],
            &["東方紅魔郷/説明書.txt", "東方紅魔郷/data.dat"],
            &["予定表.txt", "能力一覧.csv", "ｶﾅ.txt"],
            &["ＤＡＴＡ/音楽.mid"],
        ];
        for names in japanese {
            assert_eq!(page_of(SHIFT_JIS, names), CodePage::ShiftJis, "{names:?}");
        }
        for names in [&["游戏/说明.txt"][..], &["安装程序/请先阅读.txt", "中文版.exe"], &["仙剑奇侠传三/存档.dat"]]
        {
            assert_eq!(page_of(GBK, names), CodePage::Gbk, "{names:?}");
        }
        for names in [&["遊戲說明/安裝程式.txt"][..], &["仙劍奇俠傳/存檔功能.dat"], &["三國志/許功蓋.txt"]]
        {
            assert_eq!(page_of(BIG5, names), CodePage::Big5, "{names:?}");
        }
        for names in [&["스타크래프트/설명서.txt"][..], &["게임을 시작하기 전에.txt"]] {
            assert_eq!(page_of(EUC_KR, names), CodePage::EucKr, "{names:?}");
        }
        for names in [&["Сохранения/Уровень1.sav"][..], &["Прочти меня.txt", "карты/лес.map"]]
        {
            assert_eq!(page_of(IBM866, names), CodePage::Cp866, "{names:?}");
        }
        for names in [&["Über.map", "Straße/Größe.txt"][..], &["Été à la plage.wav"], &["Señor.txt", "año.dat"]]
        {
            assert_eq!(page_of(WINDOWS_1252, names), CodePage::Windows1252, "{names:?}");
        }
    }

    #[test]
    fn names_of_western_pcs_stay_what_they_are() {
        let names: [(&[u8], &str); 12] = [
            (b"\x9aber.map", "Über.map"),
            (b"L\x94we.txt", "Löwe.txt"),
            (b"\x99l.txt", "Öl.txt"),
            (b"Gr\x94\xe1e", "Größe"),
            (b"Stra\xe1e.map", "Straße.map"),
            (b"cr\x82\x82e.txt", "créée.txt"),
            (b"fran\x87ais", "français"),
            (b"Espa\xa4a/ni\xa4o", "España/niño"),
            (b"pr\x84sentation", "präsentation"),
            (b"\x8erger.dat", "Ärger.dat"),
            (b"f\x81r \x84lteres", "für älteres"),
            (b"M\x84rchenh\x84user", "Märchenhäuser"),
        ];
        for (bytes, name) in names {
            let page = CodePage::of(std::iter::once(bytes));
            assert_eq!((page, page.decode(bytes).as_str()), (CodePage::Cp437, name));
        }
        let page = CodePage::of(names.iter().map(|(bytes, _)| *bytes));
        assert_eq!(page, CodePage::Cp437);
    }

    #[test]
    fn what_fits_more_than_one_or_none_is_not_guessed() {
        // Two syllables, which are also two characters of Chinese.
        assert_eq!(page_of(EUC_KR, &["게임.txt"]), CodePage::Cp437);
        assert_eq!(CodePage::of([&b"\xff\xfe\xfd"[..], b"\x80", b"\x83\x5c\x83"].into_iter()), CodePage::Cp437);
        assert_eq!(CodePage::of([&b"plain"[..], "Über".as_bytes()].into_iter()), CodePage::Cp437);
        // One name that does not fit counts against all.
        assert_eq!(CodePage::of([&b"\x83\x5c\x83\x74\x83\x67"[..], b"\x83"].into_iter()), CodePage::Cp437);
        let noise: Vec<u8> = (0..4000u32).map(|at| (at * 167 % 251) as u8).collect();
        for name in noise.chunks(7) {
            CodePage::of(std::iter::once(name)).decode(name);
        }
    }
}
