"""Makes fixtures/tokenizers.json: small tokenizers of every form, trained by Hugging Face's own trainers, and the ids and places that
Hugging Face's tokenizers give for texts in thirty scripts, code and noise.

Run: python tools/fixture_tokenizers.py

The lines are beginnings of the Universal Declaration of Human Rights in its languages, which is in the public domain.
"""
import json
import pathlib

from check_sentencepiece import SPECIAL, BYTES, plain_bytes
from check_tokenizer import FORMS
from check_wordpiece import bytes_before
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = """Whereas it is essential
Sự xâm phạm và coi th
Considérant qu’il est es
因此现在,大会,发布这一世界人权宣言
人人有資格享受本宣言所載的一切權利
諸国間の友好関係の発展を促進する
국제연합의 모든 사람들은 그 헌장
принимая во внимание, чт
Επειδή έχει ουσιαστική σ
ولما كان من الضروري أن ي
הואיל והכרח חיוני הוא לק
चूंकि मानव अधिकारों के प
যেহেতু জাতিসমূহের মধ্যে
கொடுங்கோன்மைக்கும், அடக்
ಜನಾಂಗಗಳಲ್ಲಿ ಸ್ನೇಹಸಂಬಂಧ
ജാതി, മതം, നിറം, ഭാഷ,
કેમ કે રાષ્ટ્રો વચ્ચે મૈ
ਜਦ ਕਿ ਮਨੁੱਖੀ ਅਧਿਕਾਰਾਂ
తెలుగు సింహాసనం
සිංහල භාෂාව
โดยที่ประชากรแห่งสหประชา
ດ້ວຍເຫດວ່າ: ມີຄວາມສຳຄັນ
ដោយយល់ឃើញថា ជាការចាំបាច់
လူခပ်သိမ်းတို့သည်၊ တရား
སྐྱེ་བོ་དག་གིས་འུ་ཐུག
ვინაიდან აუცილებელია
Միավորված ազգերը պարտավո
ማንም፡ሰው፡ቢሆን፡የጭካኔ፡ስቃይ
ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ
ދެންފަހެ، އިންސާނީ
ᐃᒪᐃᒻᒪᑦ ᓱᖁᑎᒋᓇᒍ
ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ""".split("\n")

NOISE = [
    "", " ", "  ", "\n", " a", "a ", "\t a\r\n\n  b  ", "def f(x):\n    return x+1  # 1.5e-3", "if (a<=b) { s[\"k\"] += 'é'; } // don't",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 🇩🇪 👍🏽", "e\u0301 a\u0323\u0302 \u0344 x\u0301\u0327y ﬁ ½ ² Ⅷ Å İ ß \u1e9b\u0323", "각 \u1100\u1161\u11a8 한\u11ab",
    "\u0000\u0001\ufffd\ufffe\u200b\u200f\ufeff", "▁ ▁▁ _ __", "<s> </s> <unk> [CLS] <0x41> <|endoftext|>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "I'll we'RE ''s 'tis",
    "12345678 1,234.56 ３４", "camelCase HTTPServer snake_case", "x\u00a0y\u3000z\u2028w", "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324", "\u0951\u0930\u094d\u0915",
]


def sentencepiece(form):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    blank = normalizers.Replace(" ", "▁")
    if form == "mistral":
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blank]) if form == "llama" else blank
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(back + ([] if form == "gemma" else [decoders.Strip(" ", 1, 0)]))
    trainer = trainers.BpeTrainer(vocab_size=420, limit_alphabet=70, special_tokens=SPECIAL + BYTES, show_progress=False, max_token_length=8)
    t.train_from_iterator(LINES * 3, trainer)
    return plain_bytes(t)


def bytelevel(form):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC() if form == "qwen2" else t.normalizer
    words = [] if form == "gpt2" else [pre_tokenizers.Split(Regex(FORMS[form]), "isolated")]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=form == "gpt2")
    t.pre_tokenizer = pre_tokenizers.Sequence(words + [level]) if words else level
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def wordpiece():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(LINES * 3, trainers.WordPieceTrainer(vocab_size=500, limit_alphabet=150, special_tokens=special, show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def main():
    forms = {"gpt2": bytelevel("gpt2"), "qwen2": bytelevel("qwen2"), "o200k": bytelevel("o200k"), "wordpiece": wordpiece()}
    forms |= {form: sentencepiece(form) for form in ("llama", "mistral", "gemma")}
    texts = LINES + NOISE
    made = {"texts": texts, "forms": {}}
    for name, t in forms.items():
        t.encode_special_tokens = True
        results = []
        for text in texts:
            e = t.encode(text, add_special_tokens=False)
            before = bytes_before(text)
            places = [p for b, f in e.offsets for p in (before[b], before[f])]
            results.append([e.ids, places, t.decode(e.ids)])
        made["forms"][name] = {"tokenizer": json.loads(t.to_str()), "results": results}
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "tokenizers.json"
    path.write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path}: {len(texts)} texts, {len(forms)} tokenizers, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
