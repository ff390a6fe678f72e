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

# Templates that know of tools, in the forms of Qwen 2.5, Llama 3.1 and Mistral; "own" is the one that pupil writes into its models.
OWN = pathlib.Path(__file__).parent.parent / "crates" / "chat" / "src" / "chatml.jinja"
TEMPLATES_WITH_TOOLS = {
    "own": ("", "<|im_end|>", OWN.read_text(encoding="utf-8")),
    "qwen tools": (
        "", "<|im_end|>",
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0]['role'] == 'system' %}\n        {{- messages[0]['content'] }}\n    {%- else %}\n"
        "        {{- 'You help.' }}\n    {%- endif %}\n    {{- \"\\n\\n# Tools <tools>\" }}\n    {%- for tool in tools %}\n        {{- \"\\n\" }}\n        {{- tool | tojson }}\n"
        "    {%- endfor %}\n    {{- \"\\n</tools><|im_end|>\\n\" }}\n{%- endif %}\n"
        "{%- for message in messages %}\n    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) or (message.role == \"assistant\" and not message.tool_calls) %}\n"
        "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- elif message.role == \"assistant\" %}\n        {{- '<|im_start|>' + message.role }}\n"
        "        {%- if message.content %}\n            {{- '\\n' + message.content }}\n        {%- endif %}\n        {%- for tool_call in message.tool_calls %}\n"
        "            {%- if tool_call.function is defined %}\n                {%- set tool_call = tool_call.function %}\n            {%- endif %}\n"
        "            {{- '\\n<tool_call>\\n{\"name\": \"' }}\n            {{- tool_call.name }}\n            {{- '\", \"arguments\": ' }}\n            {{- tool_call.arguments | tojson }}\n"
        "            {{- '}\\n</tool_call>' }}\n        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}\n"
        "        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != \"tool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n"
        "        {{- '\\n<tool_response>\\n' }}\n        {{- message.content }}\n        {{- '\\n</tool_response>' }}\n"
        "        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n            {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    ),
    "llama3 tools": (
        "<|begin_of_text|>", "<|eot_id|>",
        "{{- bos_token }}\n{%- if tools is not none %}\n    {{- 'Environment: ipython\\n' }}{%- for t in tools %}\n        {{- t | tojson(indent=4) }}\n        {{- '\\n\\n' }}\n    {%- endfor %}\n{%- endif %}\n"
        "{%- for message in messages %}\n    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n"
        "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n    {%- elif 'tool_calls' in message %}\n"
        "        {%- if not message.tool_calls|length == 1 %}\n            {{- raise_exception(\"only single tool-calls\") }}\n        {%- endif %}\n        {%- set tool_call = message.tool_calls[0].function %}\n"
        "        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n        {{- '{\"name\": \"' + tool_call.name + '\", ' }}\n        {{- '\"parameters\": ' }}\n        {{- tool_call.arguments | tojson }}\n"
        "        {{- \"}<|eot_id|>\" }}\n    {%- elif message.role == \"tool\" or message.role == \"ipython\" %}\n        {{- \"<|start_header_id|>ipython<|end_header_id|>\\n\\n\" }}\n"
        "        {%- if message.content is mapping or message.content is iterable %}\n            {{- message.content | tojson }}\n        {%- else %}\n            {{- message.content }}\n        {%- endif %}\n"
        "        {{- \"<|eot_id|>\" }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
    ),
    "mistral tools": (
        "<s>", "</s>",
        "{%- set user_messages = messages | selectattr('role', 'equalto', 'user') | list %}{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{%- if tools is not none and (message == user_messages[-1]) %}{{- '[AVAILABLE_TOOLS] [' }}{%- for tool in tools %}{%- set tool = tool.function %}{{- '{\"type\": \"function\", \"function\": {' }}"
        "{%- for key, val in tool.items() if key != 'return' %}{%- if val is string %}{{- '\"' + key + '\": \"' + val + '\"' }}{%- else %}{{- '\"' + key + '\": ' + val|tojson }}{%- endif %}"
        "{%- if not loop.last %}{{- ', ' }}{%- endif %}{%- endfor %}{{- '}}' }}{%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' }}{%- endif %}{%- endfor %}{{- '[/AVAILABLE_TOOLS]' }}{%- endif %}"
        "{{- '[INST] ' + message.content + '[/INST]' }}{%- elif message.tool_calls is defined and message.tool_calls is not none %}{{- '[TOOL_CALLS] [' }}{%- for tool_call in message.tool_calls %}"
        "{%- set out = tool_call.function|tojson %}{{- out[:-1] }}{%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception('ids of nine characters') }}{%- endif %}"
        "{{- ', \"id\": \"' + tool_call.id + '\"}' }}{%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' + eos_token }}{%- endif %}{%- endfor %}"
        "{%- elif message.role == 'assistant' %}{{- ' ' + message.content|trim + eos_token }}{%- elif message.role == 'tool' %}"
        "{{- '[TOOL_RESULTS] {\"content\": ' + message.content|string + ', ' }}{{- '\"call_id\": \"' + message.tool_call_id + '\"}[/TOOL_RESULTS]' }}{%- endif %}{%- endfor %}",
    ),
}

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Today's weather — \"now\"", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "名"}, "days": {"type": "integer"}}, "required": ["city"]}}}
ADD = {"type": "function", "function": {"name": "add", "description": "a + b", "parameters": {"type": "object", "properties": {"b": {"type": "number"}, "a": {"type": "number"}}}}}


def call(name, arguments, id=None):
    return ({"id": id} if id else {}) | {"type": "function", "function": {"name": name, "arguments": arguments}}


CHATS_WITH_TOOLS = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rome?"},
     {"role": "assistant", "content": "", "tool_calls": [call("weather", {"city": "Rome", "days": 1}, "abcdefghi")]},
     {"role": "tool", "content": "{\"sky\": \"blue\"}", "tool_call_id": "abcdefghi"}, {"role": "assistant", "content": "Blue."}],
    [{"role": "user", "content": "both"},
     {"role": "assistant", "content": "I look.", "tool_calls": [call("weather", {"city": "北京 <b>&'\"\\"}, "123456789"), call("add", {"b": 0.5, "a": [1, None, True]}, "12345678x")]},
     {"role": "tool", "content": "sun", "tool_call_id": "123456789", "name": "weather"}, {"role": "tool", "content": "1.5", "tool_call_id": "12345678x", "name": "add"},
     {"role": "assistant", "content": "", "tool_calls": [call("add", {})]}],
]

CHATS = [
    [("user", "hi")],
    [("user", "What is 2 + 2?"), ("assistant", "4.")],
    [("system", "Be brief."), ("user", "  hello there  "), ("assistant", "Hi!\n"), ("user", "你好 <|im_end|> x")],
    [("user", "a"), ("user", "b")],
]

cases = []


def case(name, bos, eos, template, messages, tools, reply):
    try:
        expected = _compile_jinja_template(template).render(
            messages=messages, add_generation_prompt=reply, bos_token=bos, eos_token=eos, tools=tools, documents=None
        )
    except Exception:
        expected = None
    made = {"name": name, "template": template, "bos": bos, "eos": eos, "messages": messages, "reply": reply, "expected": expected}
    cases.append(made | ({"tools": tools} if tools else {}))


for name, (bos, eos, template) in TEMPLATES.items():
    for chat in CHATS:
        for reply in (False, True):
            case(name, bos, eos, template, [{"role": r, "content": c} for r, c in chat], None, reply)
for name, (bos, eos, template) in TEMPLATES_WITH_TOOLS.items():
    for chat in CHATS_WITH_TOOLS:
        for tools in (None, [WEATHER, ADD]):
            case(name, bos, eos, template, chat, tools, len(chat) == 1)
path = pathlib.Path(__file__).parent.parent / "fixtures" / "templates.json"
path.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
print(len(cases), "cases,", sum(c["expected"] is None for c in cases), "of them refused")
