package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Manage secrets, which functions read as files in " + lofn.SecretsPath,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.secretCreateCommand(), p.secretUpdateCommand(), p.secretListCommand(),
		p.secretRemoveCommand(), p.secretApplyCommand(), p.secretGenerateCommand(),
	)
	return cmd
}

// secretSource are the flags that say where a value comes from.
type secretSource struct {
	literal, file string
	trim          bool
}

func (s *secretSource) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.literal, "from-literal", "", "the value itself; it is then in the shell's history")
	cmd.Flags().StringVar(&s.file, "from-file", "", "file with the value")
	cmd.Flags().BoolVar(&s.trim, "trim", true, "cut white space off both ends of the value")
}

// read returns the value. It goes nowhere but to the gateway.
func (s *secretSource) read(p *program) ([]byte, error) {
	value, err := s.raw(p)
	if err != nil {
		return nil, err
	}
	if s.trim {
		value = []byte(strings.TrimSpace(string(value)))
	}
	if len(value) == 0 {
		return nil, errors.New("the value is empty: give it with --from-literal, --from-file or on standard input")
	}
	return value, nil
}

func (s *secretSource) raw(p *program) ([]byte, error) {
	switch {
	case s.literal != "" && s.file != "":
		return nil, errors.New("--from-literal and --from-file cannot be given together: use one of them")
	case s.literal != "":
		return []byte(s.literal), nil
	case s.file != "":
		return os.ReadFile(s.file)
	}
	p.hintStdin()
	return io.ReadAll(p.Stdin)
}

// oneSecret checks the argument of commands about one secret.
func oneSecret(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the name of one secret, not %d", len(args))
	}
	return lofn.ValidateSecretName(args[0])
}

func (p *program) secretCreateCommand() *cobra.Command {
	t, source, replace := target{p: p}, secretSource{}, false
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a secret from a literal, a file or standard input",
		Example: `  lofn secret create api-key --from-file key.txt
  cat key.txt | lofn secret create api-key --namespace dev
  lofn secret create api-key --from-literal s3cret --replace`,
		Args: oneSecret,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.putSecret(cmd, args[0], source, func(ctx context.Context, c *client.Client, name client.SecretName, value []byte) (string, error) {
				err := c.CreateSecret(ctx, name, value)
				if lofn.CodeOf(err) != lofn.Exists {
					return "Created", err
				}
				if !replace {
					return "", lofn.Errorf(lofn.Exists, "secret %s exists: change it with \"lofn secret update\", or give --replace", name.Name)
				}
				return "Updated", c.UpdateSecret(ctx, name, value)
			})
		},
	}
	t.add(cmd)
	source.add(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "update the secret if it exists")
	return cmd
}

func (p *program) secretUpdateCommand() *cobra.Command {
	t, source := target{p: p}, secretSource{}
	cmd := &cobra.Command{
		Use:     "update NAME",
		Aliases: []string{"u"},
		Short:   "Change a secret",
		Example: "  cat key.txt | lofn secret update api-key",
		Args:    oneSecret,

		ValidArgsFunction: t.completeSecrets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.putSecret(cmd, args[0], source, func(ctx context.Context, c *client.Client, name client.SecretName, value []byte) (string, error) {
				err := c.UpdateSecret(ctx, name, value)
				if lofn.CodeOf(err) == lofn.NotFound {
					return "", lofn.Errorf(lofn.NotFound, "no such secret: %s; make it with \"lofn secret create\"", name.Name)
				}
				return "Updated", err
			})
		},
	}
	t.add(cmd)
	source.add(cmd)
	return cmd
}

// putSecret reads a value, hands it to put and prints what put says it did.
func (t *target) putSecret(
	cmd *cobra.Command, name string, source secretSource,
	put func(context.Context, *client.Client, client.SecretName, []byte) (string, error),
) error {
	value, err := source.read(t.p)
	if err != nil {
		return err
	}
	c, err := t.connect(cmd)
	if err != nil {
		return err
	}
	t.p.warnPlain(c.URL())
	ctx, cancel := apiContext(cmd)
	defer cancel()
	done, err := put(ctx, c, client.SecretName{Name: name, Namespace: t.namespace}, value)
	if err != nil {
		return err
	}
	t.p.outf("%s: %s\n", done, name)
	return nil
}

func (p *program) secretListCommand() *cobra.Command {
	t, out := target{p: p}, output{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the names of secrets; values are never shown",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			secrets, err := c.Secrets(ctx, t.namespace)
			if err != nil {
				return err
			}
			if asJSON {
				return p.outJSON(secrets)
			}
			table := newTable(p.Stdout, "NAME", "NAMESPACE")
			for _, secret := range secrets {
				table.row(secret.Name, secret.Namespace)
			}
			return table.flush()
		},
	}
	t.add(cmd)
	out.add(cmd)
	return cmd
}

func (p *program) secretRemoveCommand() *cobra.Command {
	t := target{p: p}
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove a secret",
		Args:    oneSecret,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			err = c.RemoveSecret(ctx, client.SecretName{Name: args[0], Namespace: t.namespace})
			if lofn.CodeOf(err) == lofn.NotFound {
				return lofn.Errorf(lofn.NotFound, "no such secret: %s; run \"lofn secret list\" to see what there is", args[0])
			}
			if err != nil {
				return err
			}
			p.outf("Removed: %s%s\n", args[0], stillUsed(t.users(ctx, c, args[0])))
			return nil
		},
		ValidArgsFunction: t.completeSecrets,
	}
	t.add(cmd)
	return cmd
}

// users are the names of the functions that want a secret. A gateway that does
// not tell is no reason to fail.
func (t *target) users(ctx context.Context, c *client.Client, secret string) []string {
	functions, err := c.Functions(ctx, t.namespace)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range functions {
		if slices.Contains(f.Secrets, secret) {
			names = append(names, f.Name)
		}
	}
	return names
}

// stillUsed says what the removal of a secret means for functions that want it.
func stillUsed(functions []string) string {
	switch len(functions) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(". Still used by %s: it keeps its copy until it restarts, and then cannot start.", functions[0])
	}
	return fmt.Sprintf(". Still used by %s: they keep their copy until they restart, and then cannot start.",
		strings.Join(functions, ", "))
}

// completeSecrets offers the names of secrets to the shell, if the gateway
// answers quickly.
func (t *target) completeSecrets(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := t.connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := completionContext(cmd)
	defer cancel()
	secrets, _ := c.Secrets(ctx, t.namespace)
	names := make([]string, len(secrets))
	for i, secret := range secrets {
		names[i] = secret.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// secretsFolder holds a file for each secret that functions need locally.
const secretsFolder = ".secrets"

func (p *program) secretApplyCommand() *cobra.Command {
	t, trim := target{p: p}, true
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Create or update a secret from every file in " + secretsFolder,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := secretFiles()
			if err != nil {
				return err
			}
			for _, file := range files {
				source := secretSource{file: file, trim: trim}
				name := filepath.Base(file)
				if err := lofn.ValidateSecretName(name); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				if err := t.putSecret(cmd, name, source, createOrUpdate); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
			return nil
		},
	}
	t.add(cmd)
	cmd.Flags().BoolVar(&trim, "trim", true, "cut white space off both ends of the values")
	return cmd
}

func secretFiles() ([]string, error) {
	entries, err := os.ReadDir(secretsFolder)
	if err != nil {
		return nil, fmt.Errorf("%w: put a file for each secret into %s, named as the secret", err, secretsFolder)
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() {
			files = append(files, filepath.Join(secretsFolder, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s is empty: put a file for each secret into it, named as the secret", secretsFolder)
	}
	return files, nil
}

func createOrUpdate(ctx context.Context, c *client.Client, name client.SecretName, value []byte) (string, error) {
	err := c.CreateSecret(ctx, name, value)
	if lofn.CodeOf(err) == lofn.Exists {
		return "Updated", c.UpdateSecret(ctx, name, value)
	}
	return "Created", err
}

func (p *program) secretGenerateCommand() *cobra.Command {
	var (
		length int
		file   string
	)
	cmd := &cobra.Command{
		Use:     "generate",
		Aliases: []string{"gen"},
		Short:   "Make a random value, in base64",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if length < 1 || length > 1<<20 {
				return fmt.Errorf("--length: must be from 1 to %d bytes, not %d", 1<<20, length)
			}
			random := make([]byte, length)
			_, _ = rand.Read(random) // never fails
			value := base64.StdEncoding.EncodeToString(random)
			if file == "" {
				p.outf("%s\n", value)
				return nil
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			return os.WriteFile(file, []byte(value), 0o600)
		},
	}
	cmd.Flags().IntVar(&length, "length", 32, "number of random bytes")
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write, readable by its owner only")
	return cmd
}
