#!/bin/sh
# Makes models/pupil, the model that the repository carries: sh models/make.sh EXTRA [WORK]
# EXTRA is text with documents divided by <|endoftext|> (the card in models/pupil says what it was), WORK a directory for what lies between (default
# shipping). An interrupted run goes on where it was. It takes about 64 minutes on two cores of 2025 that do nothing else, reckoned from its speed.
set -e
extra=$1
work=${2:-shipping}
pupil=${PUPIL:-target/release/pupil}
[ -f "$extra" ] || { echo "usage: sh models/make.sh EXTRA [WORK]" >&2; exit 2; }
[ -f "$work/data/persona.toml" ] || $pupil data starter --size 500000 --context 512 --out "$work/data"
[ -f "$work/tokenizer.json" ] ||
    $pupil tokenizer train --vocab 4096 --out "$work/tokenizer.json" "$work/data/stories.txt" "$work/data/chats.jsonl" "$extra"
[ -f "$work/base/model/config.json" ] ||
    $pupil pretrain --layers 6 --width 256 --context 512 --batch-tokens 8192 --lr 6e-3 --muon 3.5e-3 --steps 1000 --resume \
        --tokenizer "$work/tokenizer.json" --out "$work/base" --data "$work/data/stories.txt" "$extra"
[ -f "$work/chat/model/config.json" ] ||
    $pupil finetune -m "$work/base" --batch-tokens 8192 --lr 5e-3 --muon 3e-3 --steps 6700 --mix "$extra=0.04" --allow-truncation --resume \
        --out "$work/chat" --data "$work/data/chats.jsonl"
rm -rf "$work/pupil"
$pupil quantize -m "$work/chat" --bits 8 --out "$work/pupil"
# It talks with little chance where nobody says otherwise.
settings=$work/pupil/generation_config.json
sed 's/"do_sample": false/"do_sample": true, "temperature": 0.3/' "$settings" > "$work/generation" && mv "$work/generation" "$settings"
$pupil eval -m "$work/pupil" --questions 12
