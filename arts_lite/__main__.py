from arts_lite.cli import main

if __name__ == "__main__":
    main(prog_name="arts-lite")
