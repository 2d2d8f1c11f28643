// Renders an Ollama template as Ollama's own server does (template.Execute of ollama 0.15): functions, types and the
// joining of messages are the same. Reads a list of {"template": ..., "conversations": [{"messages": [...], "tools":
// [...]}]} from standard input and prints the rendered prompts as a JSON list.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type args map[string]any

func (t args) String() string { b, _ := json.Marshal(t); return string(b) }

type tool map[string]any

func (t tool) String() string { b, _ := json.Marshal(t); return string(b) }

type call struct {
	Function struct {
		Name      string
		Arguments args
	}
}

type message struct {
	Role      string
	Content   string
	ToolCalls []call `json:"tool_calls"`
}

func collate(messages []message) (string, []*message) {
	var system []string
	var collated []*message
	for i := range messages {
		if messages[i].Role == "system" {
			system = append(system, messages[i].Content)
		}
		last := len(collated) - 1
		if last >= 0 && collated[last].Role == messages[i].Role && messages[i].Role != "tool" {
			collated[last].Content += "\n\n" + messages[i].Content
		} else {
			collated = append(collated, &messages[i])
		}
	}
	return strings.Join(system, "\n\n"), collated
}

func main() {
	var inputs []struct {
		Template      string
		Conversations []struct {
			Messages []message
			Tools    []tool
		}
	}
	if err := json.NewDecoder(os.Stdin).Decode(&inputs); err != nil {
		panic(err)
	}
	prompts := []string{}
	for _, input := range inputs {
		parsed := template.Must(template.New("").Option("missingkey=zero").Parse(input.Template))
		for _, conversation := range input.Conversations {
			system, messages := collate(conversation.Messages)
			var text strings.Builder
			values := map[string]any{"System": system, "Messages": messages, "Tools": conversation.Tools, "Response": ""}
			if err := parsed.Execute(&text, values); err != nil {
				panic(err)
			}
			prompts = append(prompts, text.String())
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.Encode(prompts)
}
