# NUS-WIDE with its 81 concepts at 448 px, official lists. Images without any of the
# concepts are left out, which papers do not agree on: keep_unlabelled=True keeps them.
_base_ = ['./coco_mlcl_448.py']

data_root = 'data/nus_wide/'
dataset_type = 'NUSWIDE'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='train',
        # many photographs have vanished from Flickr: how many are missing is logged
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
