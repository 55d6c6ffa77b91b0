#!/bin/bash
# The five sets of docs/results/recommend.md: a race on train, then what it chose once on test. `bash
# benchmarks/recommended.sh [BUDGET] [SET …]` in a folder with twitter2015, twitter2017, mnre (converted) and
# twitter2015_lowres (the ids); what is finished is kept, so the same command goes on.
set -eo pipefail
budget=${1:-30m}; shift || true
code=$(dirname "$(readlink -f "$0")"); page=recommend.md; ids=twitter2015_lowres/10pct
race() { python -m hf_mner_aug recommend "$@" --budget "$budget" --quiet --write-page $page; }
on_test() { python "$code/recommended.py" "$@" --page $page; }
for set in ${@:-t15_100 t17_100 t15_10pct t17_10pct mnre_10pct}; do
  echo "$set: $(date)"
  case $set in
    t15_100) race twitter2015 --out $set --fraction 0.025 --backbone crf
             on_test twitter2015 $set --fraction 0.025 ;;
    t17_100) race twitter2017 --out $set --fraction 0.0297 --backbone crf
             on_test twitter2017 $set --fraction 0.0297 ;;
    t15_10pct) race twitter2015 --out $set --ids-train $ids/train.txt --backbone crf
               on_test twitter2015 $set --ids-train $ids/train.txt --ids-validation $ids/dev.txt ;;
    t17_10pct) race twitter2017 --out $set --fraction 0.1 --backbone crf
               on_test twitter2017 $set --fraction 0.1 ;;
    mnre_10pct) race mnre --out $set --fraction 0.1 --backbone relation_features
                on_test mnre $set --fraction 0.1 ;;
  esac
done
