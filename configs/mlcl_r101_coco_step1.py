# Step 1 of MulCon (arXiv 2107.11626) alone: label attention with binary cross-entropy.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl_r101_coco_step1.py
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/coco_mlcl_448.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/default_runtime.py',
]
