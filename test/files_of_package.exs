# The files of the Hex package, one a line, as Hex finds them: all of its `files`, without what matches its
# `exclude_patterns`. In `make matrix` Hex itself is asked, and has to say the same.
package = Mix.Project.config()[:package]

package[:files]
|> Enum.flat_map(&[&1 | Path.wildcard(&1 <> "/**", match_dot: true)])
|> Enum.filter(&File.regular?/1)
|> Enum.reject(fn file -> Enum.any?(package[:exclude_patterns], &Regex.match?(&1, file)) end)
|> Enum.uniq()
|> Enum.sort()
|> Enum.each(&IO.puts/1)
