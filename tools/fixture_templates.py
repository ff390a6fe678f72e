"""Makes fixtures/templates.json: chat templates in the forms of several model families, and what transformers' own template engine
makes of conversations.

Run: python tools/fixture_templates.py

The templates were written for this test after the published formats; what matters is the Jinja that they use.
"""
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

TEMPLATES = {
    "llama3": (
        "<|begin_of_text|>", "<|eot_id|>",
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set first = messages[0]['content'] | trim %}{%- set rest = messages[1:] %}"
        "{%- else %}{%- set first = '' %}{%- set rest = messages %}{%- endif %}{%- if first %}{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + first + eos_token }}{%- endif %}"
        "{%- for m in rest %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + eos_token }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}",
    ),
    "qwen": (
        "", "<|im_end|>",
        "{%- if messages[0].role != 'system' %}\n    {{- '<|im_start|>system\\nYou are a helpful assistant.' + eos_token + '\\n' }}\n{%- endif %}\n"
        "{%- for message in messages %}\n    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ eos_token ~ '\\n' }}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    ),
    "mistral": (
        "<s>", "</s>",
        "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content + '\\n\\n' %}"
        "{% elif m.role == 'user' %}{% if loop.index0 > 0 and loop.previtem.role == 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}"
        "{{ '[INST] ' + (ns.system if loop.last or loop.nextitem is defined else '') + m.content + ' [/INST]' }}{% set ns.system = '' %}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    ),
    "gemma": (
        "<bos>", "<eos>",
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
        "{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'].strip() + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    ),
    "smollm2": (
        "<|im_start|>", "<|im_end|>",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a small helper.<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    "phi3": (
        "<s>", "<|endoftext|>",
        "{% for message in messages %}\n{% if message['role'] in ['system', 'user'] %}\n{{ '<|' ~ message['role'] ~ '|>\\n' + message['content'] + '<|end|>\\n' }}"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}\n{% endfor %}\n"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    ),
    "filters": (
        "<s>", "</s>",
        "{%- macro part(m) -%}{{ m.role | upper }}: {{ m.content | replace('a', 'b') }}{%- endmacro -%}"
        "{% for m in messages if m.content %}{{ part(m) }}|{{ m.content.split(' ')[-1] }}|{{ m.content | length }}|{{ {'role': m.role, 'n': [1, true, none]} | tojson }}"
        "{% if not loop.last %}, {% endif %}{% endfor %}{% if 'x' in messages[-1].content and messages | selectattr('role', 'equalto', 'user') | list | length > 1 %}!{% endif %}",
    ),
}

CHATS = [
    [("user", "hi")],
    [("user", "What is 2 + 2?"), ("assistant", "4.")],
    [("system", "Be brief."), ("user", "  hello there  "), ("assistant", "Hi!\n"), ("user", "你好 <|im_end|> x")],
    [("user", "a"), ("user", "b")],
]

cases = []
for name, (bos, eos, template) in TEMPLATES.items():
    for chat in CHATS:
        messages = [{"role": r, "content": c} for r, c in chat]
        for reply in (False, True):
            try:
                expected = _compile_jinja_template(template).render(
                    messages=messages, add_generation_prompt=reply, bos_token=bos, eos_token=eos, tools=None, documents=None
                )
            except Exception:
                expected = None
            cases.append({"name": name, "template": template, "bos": bos, "eos": eos, "messages": messages, "reply": reply, "expected": expected})
path = pathlib.Path(__file__).parent.parent / "fixtures" / "templates.json"
path.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
print(len(cases), "cases,", sum(c["expected"] is None for c in cases), "of them refused")
