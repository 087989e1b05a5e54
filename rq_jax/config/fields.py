"""Every field of an experiment, with its default and what it may hold."""

# Of an image file: what is read unless the experiment says otherwise, and the
# most that Pillow reads.
DEFAULT_MAX_PIXELS = 80_000_000
PILLOW_MAX_PIXELS = 178_956_970

COMMON = dict(
    seed=0,
    init_from=None,  # Path of a run or conversion whose weights to start from.
    data=dict(
        source='digits',
        path=None,
        image_size=256,
        max_pixels=DEFAULT_MAX_PIXELS,  # Of an image file.
        crop='center',  # Of training images.
        flip=False,
        batch_size=128,  # Of all devices together.
        workers=0,  # Processes that prepare examples.
    ),
    optimizer=dict(
        name='adam',
        peak_lr=4e-5,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        clip_norm=0.0,  # 0 for no clipping.
        warmup_steps=0,
        schedule='constant',
        min_lr=0.0,
        ema_decay=0.0,  # Of the averaged parameters; 0 keeps none.
    ),
    train=dict(
        steps=None,  # Either steps or epochs.
        epochs=None,
        log_steps=100,
        eval_steps=1000,
        checkpoint_steps=1000,
        keep_checkpoints=2,
    ),
    mesh=dict(data=-1, fsdp=1, model=1),
)

STAGE1 = dict(
    model=dict(
        image_size=256,
        channels=128,
        channel_multipliers=(1, 1, 2, 2, 4, 4),
        res_blocks=2,
        attention_resolutions=(8,),
        z_channels=256,
        embed_dim=256,
        code_shape=(8, 8, 4),
        codebook_size=16384,
        shared_codebook=True,
        decay=0.99,
        codebook_update='step',
        restart='relative',
        restart_threshold=0.1,
        norm_groups=32,
        dropout=0.0,
        remat=False,
        dtype='float32',
    ),
    loss=dict(
        reconstruction='mse',
        commitment_weight=0.25,
        perceptual_weight=0.0,
        perceptual_path=None,  # Folder of converted LPIPS weights.
        adversarial_weight=0.0,
        adversarial_start=0,  # Step.
        discriminator='hinge',
    ),
    discriminator=dict(channels=64, layers=2, norm='batch', dtype='float32'),
)

STAGE2 = dict(
    tokenizer=None,  # Path of a stage-1 run or conversion.
    model=dict(
        code_shape=(8, 8, 4),
        codebook_size=16384,
        embed_dim=256,
        width=1536,
        heads=24,
        spatial_layers=12,
        depth_layers=4,
        num_classes=0,
        text_vocab_size=0,
        text_length=0,
        null_class=False,
        spatial_input='codebook',
        depth_input='codebook',
        shared_embedding=True,
        cumulative_depth_input=True,
        shared_classifier=True,
        attention_bias=True,
        mlp_bias=True,
        gelu='exact',
        depth_gelu=None,
        dropout=0.1,
        attention_dropout=0.0,
        embedding_dropout=0.0,
        remat=False,
        dtype='float32',
    ),
    loss=dict(
        temperature=0.5,  # Of the soft targets and of the draws.
        stochastic_codes=True,
        soft_targets=True,
        condition_weight=0.0,  # Of predicting the text itself.
        label_dropout=0.0,  # Share of conditions replaced by the null class.
    ),
)

# Fields whose default is None, and what they hold otherwise.
OPTIONAL = {
    'init_from': str,
    'tokenizer': str,
    'data.path': str,
    'train.steps': int,
    'train.epochs': float,
    'model.depth_gelu': str,
    'loss.perceptual_path': str,
}
# Fields that take one number, or one for each level or depth.
PER_DEPTH = ('model.codebook_size', 'model.decay', 'model.res_blocks')
CHOICES = {
    'data.source': ('digits', 'image_folder', 'features'),
    'data.crop': ('center', 'random', 'random_resized'),
    'optimizer.name': ('adam', 'adamw'),
    'optimizer.schedule': ('cosine', 'constant'),
    'model.codebook_update': ('step', 'depth'),
    'model.restart': ('relative', 'absolute', 'off'),
    'model.spatial_input': ('codebook', 'learned'),
    'model.depth_input': ('codebook', 'learned'),
    'model.gelu': ('exact', 'sigmoid'),
    'model.depth_gelu': (None, 'exact', 'sigmoid'),
    'model.dtype': ('float32', 'bfloat16', 'float16'),
    'loss.reconstruction': ('mse', 'l1'),
    'loss.discriminator': ('hinge', 'vanilla'),
    'discriminator.norm': ('batch', 'act'),
    'discriminator.dtype': ('float32', 'bfloat16', 'float16'),
}
# Numbers, and all of several, that must be greater than 0.
POSITIVE = (
    'data.image_size',
    'data.max_pixels',
    'data.batch_size',
    'optimizer.peak_lr',
    'optimizer.eps',
    'train.steps',
    'train.epochs',
    'train.log_steps',
    'train.eval_steps',
    'train.checkpoint_steps',
    'train.keep_checkpoints',
    'model.code_shape',
    'model.codebook_size',
    'model.embed_dim',
    # Of stage 1.
    'model.image_size',
    'model.channels',
    'model.channel_multipliers',
    'model.z_channels',
    'model.norm_groups',
    'discriminator.channels',
    'discriminator.layers',
    # Of stage 2.
    'model.width',
    'model.heads',
    'loss.temperature',
)
NOT_NEGATIVE = (
    'data.workers',
    'optimizer.weight_decay',
    'optimizer.clip_norm',
    'optimizer.warmup_steps',
    'optimizer.min_lr',
    # Of stage 1.
    'model.res_blocks',
    'model.restart_threshold',
    'loss.commitment_weight',
    'loss.perceptual_weight',
    'loss.adversarial_weight',
    'loss.adversarial_start',
    # Of stage 2.
    'model.spatial_layers',
    'model.depth_layers',
    'model.num_classes',
    'model.text_vocab_size',
    'model.text_length',
    'loss.condition_weight',
)
# Numbers in [0, 1).
FRACTIONS = (
    'optimizer.betas',
    'optimizer.ema_decay',
    'model.dropout',
    # Of stage 1.
    'model.decay',
    # Of stage 2.
    'model.attention_dropout',
    'model.embedding_dropout',
    'loss.label_dropout',
)
# A resumed run may differ in these; anything else would make it another run.
RESUMABLE = ('train.', 'mesh.', 'data.workers', 'data.path', 'data.max_pixels',
             'init_from', 'tokenizer', 'loss.perceptual_path')  # fmt: skip
