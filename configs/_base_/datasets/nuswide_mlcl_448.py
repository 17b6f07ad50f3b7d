# NUS-WIDE with its 81 concepts at 448 px, official lists. Images without a concept are
# left out; papers differ in this, and keep_unlabelled=True keeps them.
_base_ = ['./coco_mlcl_448.py']

data_root = 'data/nus_wide/'
dataset_type = 'NUSWIDE'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='train',
        # Flickr no longer has all photographs; the number of missing ones is logged
        missing='skip',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='test',
        missing='skip',
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
