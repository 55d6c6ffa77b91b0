#!/bin/bash
# The five sets of docs/results/recommend.md: a race on train, then what it chose once on test. `bash
# benchmarks/recommended.sh [BUDGET] [SET …]` in a folder with twitter2015, twitter2017, mnre (converted),
# twitter2015_lowres (the ids), pool.db and names.tsv (as benchmarks/lab/utility.py makes them) and the encoder minilm;
# what is finished is kept, so the same command goes on.
set -eo pipefail
budget=${1:-30m}; shift || true
code=$(dirname "$(readlink -f "$0")"); page=recommend.md; ids=twitter2015_lowres/10pct
teacher='labels=teacher,teacher="frozen_encoder_crf:encoder=minilm",min_confidence=0.5'
methods=(eda lsms llm_da mixgen gmda:image=false memory_hard:image=false
  "lsms:operations=mention,ratio=1.0,mentions=names.tsv" "llm_da:operations=entity,both,mentions=names.tsv"
  "gmda:image=false,detectors=5,agreement=0.2,mentions=names.tsv" "memory_hard:image=false,mentions=names.tsv"
  "rmda:corpus=pool.db,image=false,require=none,mask=,copies=8,$teacher")
entities() { race "$@" --backbone crf --methods "${methods[@]}" --copies 3 --weights 1; }
race() { python -m hf_mner_aug recommend "$@" --budget "$budget" --quiet --write-page $page; }
on_test() { python "$code/recommended.py" "$@" --page $page; }
for set in ${@:-t15_100 t17_100 t15_10pct t17_10pct mnre_10pct}; do
  echo "$set: $(date)"
  case $set in
    t15_100) entities twitter2015 --out $set --fraction 0.025
             on_test twitter2015 $set --fraction 0.025 ;;
    t17_100) entities twitter2017 --out $set --fraction 0.0297
             on_test twitter2017 $set --fraction 0.0297 ;;
    t15_10pct) entities twitter2015 --out $set --ids-train $ids/train.txt
               on_test twitter2015 $set --ids-train $ids/train.txt --ids-validation $ids/dev.txt ;;
    t17_10pct) entities twitter2017 --out $set --fraction 0.1
               on_test twitter2017 $set --fraction 0.1 ;;
    mnre_10pct) race mnre --out $set --fraction 0.1 --backbone relation_features
                on_test mnre $set --fraction 0.1 ;;
  esac
done
