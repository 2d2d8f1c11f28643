"""Config keys that describe no part of the forward pass: token ids, training, generation and bookkeeping."""

# Keys that change no forward pass, whatever their values: tokens, training, generation and bookkeeping.
INERT = frozenset(
    """
    architectures auto_map model_type dtype torch_dtype transformers_version name_or_path _name_or_path _commit_hash
    _model_name_or_path
    bos_token_id eos_token_id pad_token_id sep_token_id unk_token_id decoder_start_token_id tokenizer_class vocab_file
    use_cache initializer_range attention_dropout resid_pdrop embd_pdrop residual_dropout pretraining_tp
    output_attentions output_hidden_states output_router_logits output_scores return_dict return_dict_in_generate
    torchscript use_bfloat16 tf_legacy_loss id2label label2id num_labels problem_type finetuning_task
    task_specific_params prefix chunk_size_feed_forward tie_encoder_decoder attn_implementation _attn_implementation
    _attn_implementation_autoset _attn_implementation_internal _flash_attn_2_enabled max_length min_length do_sample
    early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty
    length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens cross_attention_hidden_size is_llama_config transformers.js_config unsloth_fixed
    unsloth_version cache_implementation
    """.split()  # noqa: SIM905 - a list of quoted keys would be a page long
)
# Keys that change nothing while they are off.
INERT_WHEN_FALSE = frozenset(
    {"rope_interleaved", "use_mrope", "is_decoder", "is_encoder_decoder", "add_cross_attention"}
)
