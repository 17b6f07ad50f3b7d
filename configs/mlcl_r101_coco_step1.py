# MulCon, step 1 alone: label-wise embeddings with binary cross-entropy.
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/coco_mlcl_448.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/default_runtime.py',
]
