"""A language model with random weights, small enough to be made in a moment: real for the server, noise for the reader."""
import numpy
from gguf import GGUFWriter, TokenType

WIDTH, HEADS, LAYERS, INNER, CONTEXT = 32, 2, 1, 64, 32768
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def vocabulary():
    """Three special tokens, every byte, and words of two letters, which random weights mostly choose."""
    tokens = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    tokens += [("<0x%02X>" % byte, TokenType.BYTE) for byte in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens += [("\u2581" + first + second, TokenType.NORMAL) for first in letters for second in letters]
    return tokens


def make(path, seed=7):
    random = numpy.random.default_rng(seed)
    tokens = vocabulary()

    def matrix(*shape):
        return random.normal(0, 0.2, shape).astype(numpy.float32)

    def ones():
        return numpy.ones(WIDTH, dtype=numpy.float32)

    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", matrix(len(tokens), WIDTH))
    writer.add_tensor("output_norm.weight", ones())
    writer.add_tensor("output.weight", matrix(len(tokens), WIDTH))
    for layer in range(LAYERS):
        name = "blk.%d." % layer
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(name + norm + ".weight", ones())
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(name + part + ".weight", matrix(WIDTH, WIDTH))
        writer.add_tensor(name + "ffn_gate.weight", matrix(INNER, WIDTH))
        writer.add_tensor(name + "ffn_up.weight", matrix(INNER, WIDTH))
        writer.add_tensor(name + "ffn_down.weight", matrix(WIDTH, INNER))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
