// Images: no registry is asked. A list tells what runs in place of an image, how long its pull takes, and what goes wrong.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
)

// imageRule: the first rule whose pattern (* stands for anything) fits the image counts.
type imageRule struct {
	Image      string   `json:"image"`
	PullMS     int      `json:"pull_ms"`
	PullError  string   `json:"pull_error"`   // the pull fails, saying this
	StartError string   `json:"start_error"`  // the container cannot be created, saying this
	Run        []string `json:"run"`          // runs this whatever the pod says
	Entrypoint []string `json:"entrypoint"`   // or: as an image's entry point; the pod's command and args count
	Builtin    string   `json:"builtin"`      // or: "engine" (a small model server inside podrunner), "done" (ends at once, well)
	LastsMS    int      `json:"lasts_ms"`     // "done": after so long
	OOMAfterMS int      `json:"oom_after_ms"` // the kernel "kills" it for its memory
	User       string   `json:"user"`         // it runs as this user of this machine, who owns what is mounted; default: podrunner's
}

type imageRules struct {
	path, bin string

	mu    sync.Mutex
	read  time.Time
	rules []imageRule
}

func wildcard(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
}

func (r *imageRules) match(image string) (imageRule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if err != nil {
		return imageRule{}, err
	}
	if !info.ModTime().Equal(r.read) {
		text, err := os.ReadFile(r.path)
		if err != nil {
			return imageRule{}, err
		}
		var rules []imageRule
		if err := json.Unmarshal(text, &rules); err != nil {
			return imageRule{}, fmt.Errorf("%s: %w", r.path, err)
		}
		r.rules, r.read = rules, info.ModTime()
	}
	for _, rule := range r.rules {
		if wildcard(rule.Image).MatchString(image) {
			return rule, nil
		}
	}
	return imageRule{Image: image, PullError: "no rule for this image in " + r.path}, nil
}

// servedModel finds the name that an engine was told to answer to.
func servedModel(words []string, env map[string]string) string {
	options := map[string]bool{"--served-model-name": true, "--alias": true, "--model-name": true, "--served-model": true}
	for i, word := range words {
		name, value, joined := strings.Cut(word, "=")
		if !options[name] {
			continue
		}
		if joined {
			return value
		}
		if i+1 < len(words) {
			return words[i+1]
		}
	}
	for _, name := range []string{"ECOLINK_SERVED_MODEL", "OLLAMA_MODEL"} {
		if env[name] != "" {
			return env[name]
		}
	}
	return "simulator"
}

func containerPort(c *v1.Container) int {
	if len(c.Ports) > 0 {
		return int(c.Ports[0].ContainerPort)
	}
	return 8000
}

// commandLine is what really runs. An address that means "all of the pod's" would be all of the machine's here: it becomes the pod's.
func (r *imageRules) commandLine(rule imageRule, c *v1.Container, ip string, command, args []string, env map[string]string) []string {
	said := append(append([]string{}, command...), args...)
	values := strings.NewReplacer("{bin}", r.bin, "{ip}", ip, "{port}", fmt.Sprint(containerPort(c)), "{model}", servedModel(said, env))
	if len(rule.Run) > 0 {
		line := make([]string, len(rule.Run))
		for i, word := range rule.Run {
			line[i] = values.Replace(word)
		}
		return line
	}
	line := append([]string{}, command...)
	if len(line) == 0 {
		for _, word := range rule.Entrypoint {
			line = append(line, values.Replace(word))
		}
	}
	line = append(line, args...)
	for i := range line {
		line[i] = podAddress(line[i], ip)
	}
	return line
}

var anyAddress = regexp.MustCompile(`(^|[=/,])(0\.0\.0\.0|\[::\])(:|$|,)`)

func podAddress(word, ip string) string {
	return anyAddress.ReplaceAllString(word, "${1}"+ip+"${3}")
}
