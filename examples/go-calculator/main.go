// A calculator for the terminal: one expression a line, such as "2 * 100" or "(1 + 2) / 4".
package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
)

// parser reads one line by recursive descent; pos is the next byte to look at.
type parser struct {
	text string
	pos  int
	err  string
}

func (p *parser) peek() byte {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *parser) fail(message string) float64 {
	if p.err == "" {
		p.err = message + " at column " + strconv.Itoa(p.pos+1)
	}
	return 0
}

func (p *parser) sum() float64 {
	value := p.product()
	for p.err == "" {
		switch p.peek() {
		case '+':
			p.pos++
			value += p.product()
		case '-':
			p.pos++
			value -= p.product()
		default:
			return value
		}
	}
	return value
}

func (p *parser) product() float64 {
	value := p.factor()
	for p.err == "" {
		switch p.peek() {
		case '*':
			p.pos++
			value *= p.factor()
		case '/':
			p.pos++
			divisor := p.factor()
			if p.err == "" && divisor == 0 {
				return p.fail("division by zero")
			}
			value /= divisor
		default:
			return value
		}
	}
	return value
}

func (p *parser) factor() float64 {
	switch c := p.peek(); {
	case c == '-':
		p.pos++
		return -p.factor()
	case c == '(':
		p.pos++
		value := p.sum()
		if p.peek() != ')' {
			return p.fail("missing )")
		}
		p.pos++
		return value
	case c >= '0' && c <= '9' || c == '.':
		start := p.pos
		for p.pos < len(p.text) && (p.text[p.pos] >= '0' && p.text[p.pos] <= '9' || p.text[p.pos] == '.') {
			p.pos++
		}
		value, err := strconv.ParseFloat(p.text[start:p.pos], 64)
		if err != nil {
			p.pos = start
			return p.fail("not a number")
		}
		return value
	}
	return p.fail("expected a number")
}

// evaluate gives the value of a line, or a message that says what is wrong with it.
func evaluate(line string) (string, bool) {
	p := &parser{text: line}
	value := p.sum()
	if p.err == "" && p.peek() != 0 {
		p.fail("unexpected character")
	}
	if p.err != "" {
		return p.err, false
	}
	return strconv.FormatFloat(value, 'f', -1, 64), true
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	in := bufio.NewReader(os.Stdin)
	out.WriteString("Calculator: type an expression, or \"exit\".\n")
	for {
		out.WriteString("> ")
		out.Flush()
		line, err := in.ReadString('\n')
		for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
			line = line[:len(line)-1]
		}
		if line == "exit" || line == "quit" {
			break
		}
		if line != "" {
			answer, ok := evaluate(line)
			if !ok {
				answer = "error: " + answer
			}
			out.WriteString(answer + "\n")
		}
		if err != nil {
			if err != io.EOF {
				os.Stderr.WriteString("calculator: " + err.Error() + "\n")
				os.Exit(1)
			}
			out.WriteString("\n")
			break
		}
	}
	out.Flush()
}
